//! A new ingest token, shown once.
//!
//! It is not kept: when the dialog is closed nobody can show it again, so nothing that is pressed by
//! habit closes it.

use crate::admin::protocol::KeyView;
use crate::tui::keys::{Code, Key};
use crate::tui::message::{Effect, Effects};
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::text::wrapped;
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

/// The dialog.
pub struct Token {
    name: String,
    token: String,
    copied: bool,
}

impl Token {
    /// Of the answer to making it; `None` when there is no token in it.
    #[must_use]
    pub fn new(made: &KeyView) -> Option<Self> {
        Some(Self { name: made.name.clone(), token: made.token.clone()?, copied: false })
    }
}

impl Dialog for Token {
    fn key(&mut self, model: &mut Model, key: Key, out: &mut Effects) -> Fate {
        match key.code {
            Code::Char('y') => {
                self.copied = true;
                out.push(Effect::Copy { text: self.token.clone(), what: format!("the token {}", self.name) });
            }
            Code::Esc => {
                model.say(format!("token {} is in force; d makes it worthless", self.name));
                return Fate::Close;
            }
            _ => {}
        }
        Fate::Stay
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        let width = 66.min(pen.width().saturating_sub(4));
        let lines = wrapped(&self.token, width.saturating_sub(4));
        let title = format!("Token {}", self.name);
        let foot = "y: copy   Esc: close, it is gone then";
        let warning =
            wrapped("This is the only time it is shown: it is kept nowhere in a form that can be read.", width - 2);
        let last = if self.copied { "It was sent to the clipboard of your terminal." } else { "" };
        let how = wrapped("Applications send it as  Authorization: Bearer TOKEN", width - 2);
        let mut inside = pen.dialog(width, lines.len() + warning.len() + how.len() + 4, &title, foot);
        let mut y = usize::from(inside.height() > lines.len() + warning.len() + how.len() + 2);
        for line in &lines {
            inside.text(2, y, line, Role::Heading);
            y += 1;
        }
        y += 1;
        for (line, role) in
            warning.iter().map(|line| (line, Role::Warning)).chain(how.iter().map(|line| (line, Role::Text)))
        {
            inside.text(1, y, line, role);
            y += 1;
        }
        inside.text(1, y, last, Role::Good);
    }
}
