//! The check of the whole store: that it is under way, or what it found.
//!
//! The daemon does it; closing the dialog does not stop it, and what it found is kept in the tab.

use crate::admin::protocol::VerifyReport;
use crate::tui::keys::{Code, Key};
use crate::tui::message::Effects;
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::screen::system::Check;
use crate::tui::text::{Shown, bytes, count, plural, shown, wrapped};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

/// The dialog. It holds nothing: what is known is in the tab.
pub struct Verify;

/// What a check found, in a line.
#[must_use]
pub(crate) fn verdict(found: &Result<VerifyReport, String>) -> (String, Role) {
    match found {
        Err(why) => (format!("it could not be made: {why}"), Role::Bad),
        Ok(report) if report.damaged > 0 => (
            format!("{}; the rest checks out", plural(report.damaged, "damaged stretch", "damaged stretches")),
            Role::Bad,
        ),
        Ok(report) if report.index_problem.is_some() || report.index_blobs > 0 => {
            ("the journal checks out, the index does not".to_owned(), Role::Bad)
        }
        Ok(report) => (format!("all of {} check out", plural(report.records, "record", "records")), Role::Good),
    }
}

impl Dialog for Verify {
    fn key(&mut self, model: &mut Model, key: Key, _out: &mut Effects) -> Fate {
        if !matches!(key.code, Code::Esc | Code::Enter | Code::Char('q')) {
            return Fate::Stay;
        }
        if matches!(model.system.check, Check::Running(_)) {
            model.say("the check goes on; V shows it again, and what it found is told");
        }
        Fate::Close
    }

    fn view(&self, model: &Model, pen: &mut Pen<'_>) {
        let columns = 62.min(pen.width().saturating_sub(4));
        let room = columns.saturating_sub(2);
        let lines: Vec<(String, Role)> = match &model.system.check {
            Check::Never => Vec::new(),
            Check::Running(since) => running(model, *since, room),
            Check::Done(at, found) => {
                let (told, role) = verdict(found);
                let mut lines: Vec<(String, Role)> =
                    wrapped(&told, room).into_iter().map(|line| (line, role)).collect();
                lines.push((String::new(), Role::Text));
                if let Ok(report) = found {
                    lines.extend(figures(report, room));
                }
                lines.push((format!("as of {}", shown(*at, &model.zone, Shown::Full)), Role::Dim));
                lines
            }
        };
        let foot =
            if matches!(model.system.check, Check::Running(_)) { "Esc: close, it goes on" } else { "Esc: close" };
        let mut inside = pen.dialog(columns, lines.len() + 2, "Check of every record", foot);
        for (y, (line, role)) in lines.iter().enumerate() {
            inside.text(1, y + 1, line, *role);
        }
    }
}

fn running(model: &Model, since: crate::domain::time::Timestamp, room: usize) -> Vec<(String, Role)> {
    let size = model.status.as_ref().map(|status| bytes(status.journal.bytes + status.index.bytes));
    let size = size.map_or(String::new(), |size| format!(" ({size})"));
    let told = [
        format!("checking, since {} …", shown(since, &model.zone, Shown::Time)),
        format!(
            "Every record of the journal and every row of the index is read{size}: on a large store that takes minutes."
        ),
        "Events are accepted and delivered meanwhile.".to_owned(),
    ];
    told.iter().flat_map(|line| wrapped(line, room)).map(|line| (line, Role::Text)).collect()
}

fn figures(report: &VerifyReport, room: usize) -> Vec<(String, Role)> {
    let mut lines = vec![
        (format!("{:>12}  segments of the journal read", count(report.segments as u64)), Role::Text),
        (format!("{:>12}  records that check out", count(report.records)), Role::Text),
        (
            format!("{:>12}  stretches that do not", count(report.damaged)),
            if report.damaged > 0 { Role::Bad } else { Role::Text },
        ),
        (format!("{:>12}  rows of the index that check out", count(report.index_rows)), Role::Text),
    ];
    if report.index_blobs > 0 {
        lines.push((
            format!("{:>12}  files in the index that should not be", count(report.index_blobs as u64)),
            Role::Bad,
        ));
    }
    if let Some(problem) = &report.index_problem {
        lines.extend(wrapped(&format!("index: {problem}"), room).into_iter().map(|line| (line, Role::Bad)));
    }
    lines
}
