//! Two people changed the same webhook: field by field, what each made of it.
//!
//! It merges nothing itself, and begins on Back; the form below is told what was chosen.

use super::{Choice, choose};
use crate::tui::keys::{Code, Key};
use crate::tui::message::Effects;
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;
use crate::tui::view::table::{Cell, Column, Table, cell, text};

/// One thing that at least one of the two changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// What it is.
    pub label: String,
    /// What this one made of it; `None` when it was left alone.
    pub mine: Option<String>,
    /// What the other did.
    pub theirs: Option<String>,
}

impl Clash {
    /// Whether both changed it, and not to the same.
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.mine.is_some() && self.theirs.is_some() && self.mine != self.theirs
    }
}

/// The dialog.
pub struct Conflict {
    name: String,
    by: String,
    rows: Vec<Clash>,
    top: usize,
    at: usize,
}

impl Conflict {
    /// Of a webhook that somebody changed meanwhile.
    #[must_use]
    pub fn new(name: &str, by: &str, mut rows: Vec<Clash>) -> Self {
        // What clashes comes first; where only one changed something, both changes stay.
        rows.sort_by_key(|row| !row.is_real());
        Self { name: name.to_owned(), by: by.to_owned(), rows, top: 0, at: 0 }
    }

    fn said(&self) -> String {
        match self.rows.iter().filter(|row| row.is_real()).count() {
            0 => "Nothing was changed by both: Keep mine keeps all.".to_owned(),
            number => format!("{number} changed by both (!): Keep mine takes yours."),
        }
    }
}

impl Dialog for Conflict {
    fn key(&mut self, model: &mut Model, key: Key, out: &mut Effects) -> Fate {
        match key.code {
            Code::Esc => return Fate::Close,
            Code::Tab | Code::Right => self.at = (self.at + 1) % 3,
            Code::BackTab | Code::Left => self.at = (self.at + 2) % 3,
            Code::Down | Code::Char('j') => self.top = (self.top + 1).min(self.rows.len().saturating_sub(1)),
            Code::Up | Code::Char('k') => self.top = self.top.saturating_sub(1),
            Code::Enter => {
                match self.at {
                    1 => choose(model, Choice::KeepMine, out),
                    2 => choose(model, Choice::TakeTheirs, out),
                    _ => {}
                }
                return Fate::Close;
            }
            _ => {}
        }
        Fate::Stay
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        let columns = pen.width().saturating_sub(8).min(96);
        let title = format!("{} was changed meanwhile by {}", self.name, self.by);
        let foot = "Tab: move   Enter: the chosen button   Esc: Back";
        let mut inside = pen.dialog(columns, self.rows.len().max(1) + 6, &title, foot);
        inside.text(1, 0, &self.said(), Role::Text);
        let (width, height) = (inside.width(), inside.height());
        let rows = height.saturating_sub(4).max(1);
        let columns = [
            Column::new("FIELD", 14).grows(1),
            Column::new("YOURS", 14).grows(2).middle(),
            Column::new("THEIRS", 14).grows(2).middle(),
        ];
        let table = Table::new(&columns, width, 0);
        let mut part = inside.part(0, 1, width, rows + 1);
        table.headings(&mut part, 0, None);
        let top = self.top.min(self.rows.len().saturating_sub(rows));
        for (y, row) in self.rows.iter().skip(top).take(rows).enumerate() {
            let left = |value: &Option<String>| value.clone().map_or(cell("(left alone)", Role::Dim), text);
            let cells: [Cell; 3] = [text(row.label.clone()), left(&row.mine), left(&row.theirs)];
            table.row(&mut part, y + 1, &cells, false, false);
            if row.is_real() {
                part.text(0, y + 1, "!", Role::Bad);
            }
        }
        let y = height.saturating_sub(1);
        let x = inside.buttons(0, y, &["Back", "Keep mine", "Take theirs"], self.at);
        let more = self.rows.len().saturating_sub(top + rows);
        if more > 0 && x + 12 < width {
            inside.right(y, &format!("j: {more} more "), Role::Dim);
        }
    }
}
