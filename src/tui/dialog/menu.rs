//! A short list of choices, each with its key.
//!
//! The classes of the page are chosen here: 0, 2xx, 3xx, 4xx, 5xx, with the page's words.

use crate::tui::keys::{Code, Key};
use crate::tui::message::Effects;
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::screen::deliveries;
use crate::tui::theme::{Role, of_class};
use crate::tui::view::pen::Pen;

const CLASSES: [(char, &str, &str); 6] = [
    ('a', "", "all"),
    ('0', "0", "0    no response"),
    ('2', "2xx", "2xx  success"),
    ('3', "3xx", "3xx  redirection"),
    ('4', "4xx", "4xx  client error"),
    ('5', "5xx", "5xx  server error"),
];

/// The menu of classes. Several can be chosen with Space.
pub struct Classes {
    at: usize,
    chosen: Vec<String>,
}

/// The menu, with what the list is narrowed to.
#[must_use]
pub(crate) fn classes(model: &Model) -> Classes {
    Classes { at: 0, chosen: model.deliveries.filter.classes.clone() }
}

impl Classes {
    fn apply(&self, model: &mut Model) -> Fate {
        let mut filter = model.deliveries.filter.clone();
        filter.classes.clone_from(&self.chosen);
        deliveries::narrow(model, filter);
        Fate::Close
    }

    fn toggle(&mut self, class: &str) {
        if class.is_empty() {
            self.chosen.clear();
        } else if self.chosen.iter().any(|one| one == class) {
            self.chosen.retain(|one| one != class);
        } else {
            self.chosen.push(class.to_owned());
        }
    }
}

impl Dialog for Classes {
    fn key(&mut self, model: &mut Model, key: Key, _out: &mut Effects) -> Fate {
        match key.code {
            Code::Esc | Code::Char('q') => return Fate::Close,
            Code::Up | Code::Char('k') => self.at = self.at.saturating_sub(1),
            Code::Down | Code::Char('j') => self.at = (self.at + 1).min(CLASSES.len() - 1),
            Code::Char(' ') => self.toggle(CLASSES[self.at].1),
            Code::Enter => {
                if self.chosen.is_empty() || self.at == 0 {
                    self.chosen.clear();
                    self.toggle(CLASSES[self.at].1);
                }
                return self.apply(model);
            }
            Code::Char(pressed) => {
                if let Some((_, class, _)) = CLASSES.iter().find(|(key, ..)| *key == pressed) {
                    self.chosen.clear();
                    self.toggle(class);
                    return self.apply(model);
                }
            }
            _ => {}
        }
        Fate::Stay
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        let foot = "0-5: only that   Space: several   Enter: show";
        let mut inside = pen.dialog(52, CLASSES.len() + 2, "Class of the last response", foot);
        for (at, (key, class, words)) in CLASSES.iter().enumerate() {
            let y = at + 1;
            let ticked =
                if class.is_empty() { self.chosen.is_empty() } else { self.chosen.iter().any(|one| one == class) };
            let mark = if at == self.at { ">" } else { " " };
            let x = inside.text(0, y, &format!("{mark} "), Role::Text);
            let x = inside.text(x, y, &format!("{key}  "), Role::Key);
            let x = inside.text(x, y, if ticked { "[x] " } else { "[ ] " }, Role::Text);
            inside.text(x, y, words, of_class(class));
            if at == self.at {
                let columns = inside.width();
                inside.choose(1, y, columns - 1);
            }
        }
    }
}
