//! The dialogs: questions before something is done, choices, and how something long is getting on.
//!
//! Each begins on Cancel or on something harmless; Enter alone never destroys anything.

pub mod bulk;
pub mod confirm;
pub mod filter;
pub mod jobs;
pub mod menu;
pub mod token;
pub mod trial;
pub mod verify;
