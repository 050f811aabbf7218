//! How the fifth tab is drawn: its parts one below the other, or beside each other where there is room.
//!
//! It decides where things stand and says nothing of its own.

use super::rows::{NAME, Row, drifted, rows};
use super::{AUDIT_MAX, Part};
use crate::tui::model::Model;
use crate::tui::text::count;
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;
use crate::tui::view::table::{Column, Table};

/// Columns of the left half.
const LEFT: usize = 60;

/// Columns for the value of a fact.
pub(super) fn fact_room(model: &Model) -> usize {
    let columns = if model.is_large() { LEFT } else { usize::from(model.size.0) };
    columns.saturating_sub(NAME + 4).max(10)
}

/// Lines above the rows of a part: its name, and the headings of its columns.
fn head(part: Part) -> usize {
    if part == Part::Daemon { 1 } else { 2 }
}

/// Lines of each part where they stand beside each other.
fn split(model: &Model, rows: [usize; 4]) -> [usize; 4] {
    let body = model.body_height();
    let [daemon, _, types, _] = rows;
    let left = (daemon + 2).min(body.saturating_sub(6));
    let right = (types + 3).clamp(6, (body / 2).max(6)).min(body);
    [left, body - left, right, body - right]
}

/// Rows of each part that fit on the screen.
pub(super) fn heights(model: &Model, rows: [usize; 4]) -> [usize; 4] {
    if model.is_large() {
        let lines = split(model, rows);
        return [0, 1, 2, 3].map(|at| lines[at].saturating_sub(head(Part::ALL[at])).max(1));
    }
    [model.body_height().saturating_sub(2).max(1); 4]
}

/// Where the first line on screen is, when the parts stand one below the other: the chosen row is to
/// be seen, with the name of its part where it is the first.
pub(super) fn top(model: &Model, keys: &[Vec<String>; 4]) -> usize {
    let tab = &model.system;
    let mut line = 0;
    let (mut begin, mut chosen, mut all) = (0, 0, 0);
    for part in Part::ALL {
        let rows: Vec<&str> = keys[part as usize].iter().map(String::as_str).collect();
        if part == tab.part {
            let place = tab.list(part).place(&rows).unwrap_or(0);
            chosen = line + head(part) + place;
            begin = if place == 0 { line } else { chosen };
        }
        line += head(part) + rows.len().max(1) + 1;
        all = line - 1;
    }
    let height = model.body_height().max(1);
    let lowest = (chosen + 1).saturating_sub(height);
    tab.top.clamp(lowest, begin.max(lowest)).min(all.saturating_sub(height).max(lowest))
}

pub(crate) fn view(model: &Model, pen: &mut Pen<'_>) {
    let all = Part::ALL.map(|part| rows(model, part));
    if model.is_large() {
        return beside(model, pen, &all);
    }
    let mut line = 0;
    for part in Part::ALL {
        let rows = &all[part as usize];
        let lines = head(part) + rows.len().max(1);
        draw(model, pen, part, rows, &Shown { y: line as isize - model.system.top as isize, skip: 0, lines });
        line += lines + 1;
    }
}

fn beside(model: &Model, pen: &mut Pen<'_>, all: &[Vec<Row>; 4]) {
    let lines = split(model, [0, 1, 2, 3].map(|at| all[at].len()));
    let (columns, height) = (pen.width(), pen.height());
    for (at, (x, y, room)) in [
        (0, 0, LEFT),
        (0, lines[0], LEFT),
        (LEFT + 1, 0, columns.saturating_sub(LEFT + 1)),
        (LEFT + 1, lines[2], columns.saturating_sub(LEFT + 1)),
    ]
    .into_iter()
    .enumerate()
    {
        let part = Part::ALL[at];
        let mut area = pen.part(x, y, room, lines[at]);
        let shown = Shown { y: 0, skip: model.system.list(part).top, lines: lines[at] };
        draw(model, &mut area, part, &all[at], &shown);
    }
    pen.part(LEFT, 0, 1, height).bar(0);
}

/// Where a part is drawn: at a line that may lie above the screen, without some of its rows, and in
/// so many lines.
struct Shown {
    y: isize,
    skip: usize,
    lines: usize,
}

fn draw(model: &Model, pen: &mut Pen<'_>, part: Part, rows: &[Row], shown: &Shown) {
    let height = pen.height();
    let at = |line: usize| usize::try_from(shown.y + line as isize).ok().filter(|y| *y < height);
    let (title, end) = names(model, part, rows.len());
    if let Some(y) = at(0) {
        pen.rule(y, &title, &end);
    }
    let columns = columns(part, pen.width());
    let table = Table::new(&columns, pen.width(), 0);
    let first = head(part);
    if let (Some(y), true) = (at(1), part != Part::Daemon) {
        table.headings(pen, y, None);
    }
    if let (true, Some(y)) = (rows.is_empty(), at(first)) {
        pen.text(2, y, nothing(model, part), Role::Dim);
    }
    let list = model.system.list(part);
    let place = chosen_place(model, part);
    let room = shown.lines.saturating_sub(first);
    for (number, row) in rows.iter().enumerate().skip(shown.skip).take(room) {
        let Some(y) = at(first + number - shown.skip) else { continue };
        let chosen = model.system.part == part && (place == Some(number) || (place.is_none() && number == list.top));
        table.row(pen, y, &row.cells, chosen, false);
    }
}

fn chosen_place(model: &Model, part: Part) -> Option<usize> {
    let keys = &super::keys(model)[part as usize];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    model.system.list(part).place(&keys)
}

fn columns(part: Part, room: usize) -> Vec<Column> {
    match part {
        Part::Daemon => vec![Column::new("", NAME), Column::new("", 20).grows(1)],
        Part::Tokens => vec![
            Column::new("NAME", 12).grows(1),
            Column::new("MAY POST", 12).grows(1),
            Column::new("LAST USED", 15),
            Column::new("MADE", 20),
        ],
        Part::Types => {
            let mut columns = vec![
                Column::new("EVENT TYPE", 18).grows(1),
                Column::new("HOOKS", 5).right(),
                Column::new("DRIFT", 6).right(),
                Column::new("LAST MISFIT", 18).grows(1),
            ];
            if room >= 76 {
                columns.push(Column::new("GROUP", 5));
            }
            columns
        }
        Part::Audit => {
            let mut columns = vec![
                Column::new("WHEN", 14),
                Column::new("WHO", 8).grows(1),
                Column::new("WHAT", 15),
                Column::new("TO WHAT", 12).grows(2),
            ];
            if room >= 76 {
                columns.push(Column::new("FIELDS", 12).grows(2));
            }
            columns
        }
    }
}

/// The name of a part, and what stands at the end of its line.
fn names(model: &Model, part: Part, shown: usize) -> (String, String) {
    let filter = &model.system.filter;
    let of = |all: usize| if filter.is_empty() { all.to_string() } else { format!("{shown} of {all}") };
    // What changes anything is not offered where nothing may be changed.
    let offer = |text: &str| if model.read_only { String::new() } else { text.to_owned() };
    match part {
        Part::Daemon if filter.is_empty() => ("Daemon".to_owned(), offer("V: check every record  t: test mail")),
        Part::Daemon => (format!("Daemon: rows with {filter}"), "Esc: all".to_owned()),
        Part::Tokens => {
            let all = model.system.keys.as_ref().map_or(0, Vec::len);
            (format!("Ingest tokens ({})", of(all)), offer("n: new  d: revoke"))
        }
        Part::Types => {
            let odd = model.types.iter().filter(|kind| drifted(kind) > 0).count();
            let odd = if odd == 0 { String::new() } else { format!("{} with drift", count(odd as u64)) };
            (format!("Event types ({})", of(model.types.len())), odd)
        }
        Part::Audit => {
            let all = model.system.audit.as_ref().map_or(0, Vec::len);
            let end = if all == AUDIT_MAX { "the newest; `postrider audit` has all" } else { "" };
            (format!("Audit log ({})", of(all)), end.to_owned())
        }
    }
}

/// What is said when a part has no rows.
fn nothing(model: &Model, part: Part) -> &'static str {
    let known = match part {
        Part::Daemon => model.status.is_some(),
        Part::Tokens => model.system.keys.is_some(),
        Part::Types => !model.types.is_empty(),
        Part::Audit => model.system.audit.is_some(),
    };
    match part {
        _ if !known => "waiting for the daemon …",
        _ if !model.system.filter.is_empty() => "nothing matches; Esc shows all",
        Part::Tokens if model.read_only => "none: with auth = \"token\" nobody can post",
        Part::Tokens => "none: with auth = \"token\" nobody can post; n makes one",
        Part::Audit => "nothing was changed yet",
        Part::Daemon | Part::Types => "",
    }
}
