//! A webhook that was written in an editor and is being saved, or could not be: the text is never lost.
//!
//! It judges nothing itself. What is wrong is the TOML, or what the daemon says of it.

use serde_json::{Map, Value};

use crate::admin::protocol::WebhookView;
use crate::domain::webhook::Webhook;
use crate::tui::keys::{Code, Key};
use crate::tui::message::{Answered, Ask, EditFor, Effect, Effects, Got, Trouble};
use crate::tui::model::{Dialog, Fate, Model, Undo};
use crate::tui::text::wrapped;
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

/// The dialog.
pub struct Rewrite {
    /// As it was before.
    before: WebhookView,
    text: String,
    version: u32,
    /// What was sent.
    changes: Map<String, Value>,
    /// What is wrong; `None` while the daemon is asked.
    wrong: Option<Vec<String>>,
    on_drop: bool,
}

impl Rewrite {
    /// A text that is no TOML.
    #[must_use]
    pub(crate) fn wrong(before: WebhookView, version: u32, text: &str, why: String) -> Self {
        Self { before, text: text.to_owned(), version, changes: Map::new(), wrong: Some(vec![why]), on_drop: false }
    }

    /// A text that is being saved.
    #[must_use]
    pub(crate) fn sent(before: WebhookView, version: u32, text: &str, changes: Map<String, Value>) -> Self {
        Self { before, text: text.to_owned(), version, changes, wrong: None, on_drop: false }
    }

    fn done(&self, model: &mut Model, saved: &WebhookView) {
        let undo = crate::tui::screen::form::undo_of(&self.before, saved, &self.changes);
        let said = if undo.is_some() { "; u takes it back" } else { "" };
        model.say(format!("{} saved{said}", saved.name));
        if let Some(undo) = undo {
            let ask = Ask::Change(saved.id.clone(), Box::new(undo.into()));
            let what = format!("the change of {}", saved.name);
            model.undo = Some(Undo { what, ask, until: model.now.plus(Webhook::RESTORE_WINDOW) });
        }
    }

    fn refused(&mut self, trouble: &Trouble) {
        self.wrong = Some(match trouble {
            Trouble::Refused(refused) if !refused.fields.is_empty() => {
                refused.fields.iter().map(|(field, why)| format!("{field} {why}")).collect()
            }
            trouble => vec![trouble.words().to_owned()],
        });
        if let Trouble::Refused(refused) = trouble
            && let Some(current) = &refused.current
        {
            // What is written next is meant for what it is now.
            self.version = current.version;
            if let Some(wrong) = &mut self.wrong {
                wrong.push(format!(
                    "Edit again and save to put your text in place of what {} made of it.",
                    current.updated_by
                ));
            }
        }
    }
}

impl Dialog for Rewrite {
    fn key(&mut self, _model: &mut Model, key: Key, out: &mut Effects) -> Fate {
        if self.wrong.is_none() {
            // The answer comes by itself, and until then the text has to stay.
            return Fate::Stay;
        }
        match key.code {
            Code::Tab | Code::BackTab | Code::Left | Code::Right => self.on_drop = !self.on_drop,
            // Never at once: the text would be lost.
            Code::Esc => self.on_drop = true,
            Code::Enter if self.on_drop => return Fate::Close,
            Code::Enter => {
                let purpose = EditFor::Webhook { id: self.before.id.clone(), version: self.version };
                out.push(Effect::Edit { text: self.text.clone(), suffix: ".toml", purpose });
                return Fate::Close;
            }
            _ => {}
        }
        Fate::Stay
    }

    fn answered(&mut self, model: &mut Model, answered: &Answered, _out: &mut Effects) -> Fate {
        if !matches!(&answered.ask, Ask::Change(id, _) if *id == self.before.id) || self.wrong.is_some() {
            return Fate::Stay;
        }
        match &answered.got {
            Ok(Got::Webhook(saved)) => self.done(model, saved),
            Ok(_) => model.complain("the daemon's answer makes no sense; look whether it was saved"),
            Err(trouble) => {
                self.refused(trouble);
                return Fate::Stay;
            }
        }
        Fate::Close
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        let width = 70.min(pen.width().saturating_sub(4));
        let title = format!("{} as TOML", self.before.name);
        let Some(wrong) = &self.wrong else {
            let mut inside = pen.dialog(width, 3, &title, "");
            inside.text(1, 1, "saving ...", Role::Text);
            return;
        };
        let room = width.saturating_sub(4);
        let fold = |line: &str| {
            // What points into the text keeps its blanks.
            if crate::tui::text::width(line) <= room { vec![line.to_owned()] } else { wrapped(line, room) }
        };
        let lines: Vec<String> = wrong.iter().flat_map(|text| text.trim_end().lines().flat_map(fold)).collect();
        let foot = "Tab: move   Enter: the chosen button";
        let mut inside = pen.dialog(width, lines.len() + 6, &title, foot);
        inside.text(1, 0, "Not saved; your text is kept.", Role::Text);
        let room = inside.height().saturating_sub(4);
        for (y, line) in lines.iter().take(room).enumerate() {
            inside.text(1, y + 2, line, Role::Bad);
        }
        let y = inside.height().saturating_sub(1);
        inside.buttons(0, y, &["Edit again", "Drop the text"], usize::from(self.on_drop));
    }
}
