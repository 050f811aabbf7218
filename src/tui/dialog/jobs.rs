//! The jobs since the daemon started: one is chosen to be looked at.
//!
//! It is a list as it was when it was asked for, and starts and stops nothing.

use crate::admin::protocol::JobView;
use crate::tui::dialog::bulk;
use crate::tui::keymap::Action;
use crate::tui::keys::{Code, Key};
use crate::tui::listing::Listing;
use crate::tui::message::Effects;
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::text::{Shown, count, shown_text};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;
use crate::tui::view::table::{Column, Table, cell, text};

/// Rows of the list.
const ROWS: usize = 8;

/// The dialog.
pub struct Jobs {
    jobs: Vec<JobView>,
    list: Listing,
}

impl Jobs {
    /// Of these.
    #[must_use]
    pub fn new(jobs: Vec<JobView>) -> Self {
        let mut list = Listing { height: ROWS, ..Listing::default() };
        list.settle(&jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>());
        Self { jobs, list }
    }
}

impl Dialog for Jobs {
    fn key(&mut self, model: &mut Model, key: Key, _out: &mut Effects) -> Fate {
        let keys: Vec<&str> = self.jobs.iter().map(|job| job.id.as_str()).collect();
        let action = match key.code {
            Code::Esc | Code::Char('q') => return Fate::Close,
            Code::Enter => {
                if let Some(at) = self.list.place(&keys) {
                    bulk::follow(model, &self.jobs[at]);
                }
                return Fate::Close;
            }
            Code::Up | Code::Char('k') => Action::Up,
            Code::Down | Code::Char('j') => Action::Down,
            Code::Home | Code::Char('g') => Action::Top,
            Code::End | Code::Char('G') => Action::Bottom,
            _ => return Fate::Stay,
        };
        self.list.act(action, &keys);
        Fate::Stay
    }

    fn view(&self, model: &Model, pen: &mut Pen<'_>) {
        let rows = self.jobs.len().clamp(1, ROWS);
        let mut inside =
            pen.dialog(72, rows + 1, "Jobs since the daemon started", "j k: move   Enter: look at it   Esc: close");
        let columns = [
            Column::new("STARTED", 14),
            Column::new("WHAT", 6),
            Column::new("STATE", 7),
            Column::new("DONE", 9).right(),
            Column::new("OF", 9).right(),
            Column::new("BY", 10).grows(1),
        ];
        let table = Table::new(&columns, inside.width(), 0);
        table.headings(&mut inside, 0, None);
        let rows = inside.height().saturating_sub(1);
        // A small screen shows fewer rows, the chosen one among them.
        let mut list = Listing { height: rows, ..self.list.clone() };
        list.settle(&self.jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>());
        for (y, job) in self.jobs.iter().skip(list.top).take(rows).enumerate() {
            let role = match job.state.as_str() {
                "failed" => Role::Bad,
                "running" => Role::Waiting,
                _ => Role::Text,
            };
            let cells = [
                text(shown_text(Some(&job.started_at), &model.zone, Shown::MonthDay)),
                text(if job.kind == "cancel" { "stop" } else { &job.kind }),
                cell(job.state.clone(), role),
                text(count(job.done)),
                text(count(job.matched)),
                text(job.by.clone()),
            ];
            table.row(&mut inside, y + 1, &cells, self.list.selected.as_deref() == Some(job.id.as_str()), false);
        }
    }
}
