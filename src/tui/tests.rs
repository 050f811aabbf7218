//! The screens as pictures, and the UI driven by keys. What is drawn is compared with files beside
//! this one; `INSTA_UPDATE=always` writes them anew, and whoever does that looks at them.

mod behaviour;
pub(crate) mod bench;
pub(crate) mod fixtures;
mod pictures;
mod rough;

pub(crate) use bench::{Bench, NOW, SIZES};
pub(crate) use fixtures::*;
