//! What a command after `:` does. (Skeleton: to be filled in.)
//!
//! Every action is a command, too.

use crate::tui::keymap::Action;
use crate::tui::message::Effects;
use crate::tui::model::Model;

/// Does what was typed.
pub(crate) fn run_command(model: &mut Model, text: &str, out: &mut Effects) {
    match Action::parse(text) {
        Some(action) => super::act(model, action, out),
        None if text == "q" => super::quit(model, out),
        None => model.complain(format!("there is no command {text}")),
    }
}
