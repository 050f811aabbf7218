//! The JSON Schema of an event type, and an example beside it. (Skeleton: to be filled in.)
//!
//! It shows what the daemon has; it checks nothing.

use crate::tui::model::Model;

/// Opens the schema of an event type, by its name.
pub(crate) fn open(model: &mut Model, name: &str) {
    model.say(format!("schema of {name}"));
}
