//! Help, made from the table of keys. (Skeleton: to be filled in.)
//!
//! It holds no texts of its own about keys.

use crate::tui::model::Model;

/// Opens help for where one is.
pub(crate) fn open(model: &mut Model) {
    model.say("help");
}
