//! Before a form is left with changes that are not saved.
//!
//! It begins on Stay and decides nothing itself: the form is told what was chosen.

use super::{Choice, choose};
use crate::tui::keys::{Code, Key};
use crate::tui::message::Effects;
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::text::plural;
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

/// The question.
pub struct Leave {
    title: String,
    line: String,
    at: usize,
}

/// The question, of a form with so many changes.
#[must_use]
pub(crate) fn of_form(name: &str, changes: usize) -> Leave {
    let number = plural(changes as u64, "change is", "changes are");
    Leave { title: format!("Leave {name}?"), line: format!("{number} not saved."), at: 0 }
}

impl Dialog for Leave {
    fn key(&mut self, model: &mut Model, key: Key, out: &mut Effects) -> Fate {
        match key.code {
            Code::Esc => return Fate::Close,
            Code::Tab | Code::Right => self.at = (self.at + 1) % 3,
            Code::BackTab | Code::Left => self.at = (self.at + 2) % 3,
            Code::Enter => {
                match self.at {
                    1 => choose(model, Choice::Save, out),
                    2 => choose(model, Choice::Drop, out),
                    _ => {}
                }
                return Fate::Close;
            }
            _ => {}
        }
        Fate::Stay
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        let mut inside = pen.dialog(50, 5, &self.title, "Tab: move   Enter: the chosen button   Esc: Stay");
        inside.text(1, 1, &self.line, Role::Text);
        inside.buttons(0, 3, &["Stay", "Save", "Drop changes"], self.at);
    }
}
