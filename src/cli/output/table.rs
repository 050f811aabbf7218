//! Tables that fit the width of a terminal.
//!
//! Works on text only: colours and writing are the caller's. Widths are in terminal columns, by
//! a rough rule that is right for what names and URLs hold.
//!
//! Invariants: every line is free of control characters, whatever the cells hold; a line is not
//! wider than asked unless the columns that may neither shrink nor go are.

use crate::domain::text::printable;

use super::Style;

/// Narrower than this, a shrunk column says nothing.
const WIDTH_MIN: usize = 8;
const GAP: usize = 2;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Column {
    pub(in crate::cli) title: &'static str,
    /// May be cut short.
    pub(in crate::cli) shrinks: bool,
    /// Left out when all do not fit, the highest first; 0 is never left out.
    pub(in crate::cli) goes: u8,
}

impl Column {
    pub(in crate::cli) const fn fixed(title: &'static str) -> Self {
        Self { title, shrinks: false, goes: 0 }
    }

    pub(in crate::cli) const fn shrinking(title: &'static str) -> Self {
        Self { title, shrinks: true, goes: 0 }
    }

    pub(in crate::cli) const fn goes(mut self, rank: u8) -> Self {
        self.goes = rank;
        self
    }
}

/// A text and how it looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Cell {
    pub(in crate::cli) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: printable(text.as_ref()).into_owned(), style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::Plain)
    }
}

/// The columns and, from the first rows on, their widths: parts of a long list line up.
pub(in crate::cli) struct Table {
    columns: Vec<Column>,
    widths: Option<Vec<Option<usize>>>,
}

impl Table {
    pub(in crate::cli) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), widths: None }
    }

    /// The lines of these rows, each a list of cells with their padding; the first time with
    /// the titles before them.
    pub(super) fn lines(&mut self, rows: &[Vec<Cell>], width: Option<usize>) -> Vec<Vec<Cell>> {
        let first = self.widths.is_none();
        let widths = self.widths.get_or_insert_with(|| fit(&self.columns, rows, width)).clone();
        let titles: Vec<Cell> = self.columns.iter().map(|column| Cell::styled(column.title, Style::Heading)).collect();
        let heading = first.then_some(&titles);
        heading.into_iter().chain(rows).map(|row| line(row, &widths, width.is_some())).collect()
    }
}

/// The width of each column; `None` is left out.
fn fit(columns: &[Column], rows: &[Vec<Cell>], width: Option<usize>) -> Vec<Option<usize>> {
    let natural = |index: usize, column: &Column| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| text_width(&cell.text));
        cells.chain([text_width(column.title)]).max().unwrap_or(0)
    };
    let mut widths: Vec<_> = columns.iter().enumerate().map(|(index, column)| Some(natural(index, column))).collect();
    let Some(width) = width else { return widths };
    loop {
        let total = |widths: &[Option<usize>]| {
            let shown = widths.iter().flatten();
            shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
        };
        while total(&widths) > width {
            // The widest first, so that short names stay whole.
            let shrinking = widths.iter_mut().zip(columns).filter(|(_, column)| column.shrinks);
            let widest = shrinking.filter_map(|(width, _)| width.as_mut()).max_by_key(|width| **width);
            match widest {
                Some(widest) if *widest > WIDTH_MIN => *widest -= 1,
                _ => break,
            }
        }
        let goes = |index: &usize| columns[*index].goes;
        let next = (0..columns.len()).filter(|index| widths[*index].is_some() && goes(index) > 0).max_by_key(goes);
        match next {
            Some(index) if total(&widths) > width => {
                // What remains gets its room back.
                let gone: Vec<bool> = widths.iter().map(Option::is_none).collect();
                for (other, column) in columns.iter().enumerate() {
                    widths[other] = (other != index && !gone[other]).then(|| natural(other, column));
                }
            }
            _ => return widths,
        }
    }
}

fn line(row: &[Cell], widths: &[Option<usize>], cut: bool) -> Vec<Cell> {
    let last = widths.iter().rposition(Option::is_some);
    let mut cells = Vec::new();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        let Some(width) = *width else { continue };
        let text = if cut { clipped(&cell.text, width) } else { cell.text.clone() };
        let padding = width.saturating_sub(text_width(&text));
        cells.push(Cell { text, style: cell.style });
        if Some(index) != last {
            cells.push(Cell { text: " ".repeat(padding + GAP), style: Style::Plain });
        }
    }
    cells
}

/// The text, cut to a width with `…` at its end.
fn clipped(text: &str, width: usize) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += char_width(character);
        if used > width {
            break;
        }
        shown.push(character);
    }
    shown.push('…');
    shown
}

/// Columns of a terminal that a text takes.
pub(super) fn text_width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// A rough rule: combining marks none, East Asian and emoji two, the rest one.
fn char_width(character: char) -> usize {
    match u32::from(character) {
        0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(table: &mut Table, rows: &[Vec<Cell>], width: Option<usize>) -> Vec<String> {
        let join = |cells: Vec<Cell>| cells.into_iter().map(|cell| cell.text).collect::<String>();
        table.lines(rows, width).into_iter().map(join).collect()
    }

    fn row(cells: [&str; 3]) -> Vec<Cell> {
        cells.map(Cell::from).to_vec()
    }

    const COLUMNS: [Column; 3] = [Column::shrinking("NAME"), Column::shrinking("URL").goes(1), Column::fixed("ID")];

    #[test]
    fn a_pipe_gets_everything_and_lines_up() {
        let rows = [row(["a", "https://example.net/a/long/path", "wh_1"]), row(["bcdef", "u", "wh_2"])];
        let lines = shown(&mut Table::new(&COLUMNS), &rows, None);
        assert_eq!(lines[0], "NAME   URL                              ID");
        assert_eq!(lines[1], "a      https://example.net/a/long/path  wh_1");
        assert_eq!(lines[2], "bcdef  u                                wh_2");
    }

    #[test]
    fn a_terminal_gets_lines_that_fit() {
        let rows = [row(["a-rather-long-name", "https://example.net/a/long/path", "wh_1"])];
        for width in 14..60 {
            let lines = shown(&mut Table::new(&COLUMNS), &rows, Some(width));
            assert!(lines.iter().all(|line| text_width(line) <= width), "{width}: {lines:?}");
            assert!(lines[1].ends_with("wh_1"), "{width}: {lines:?}");
        }
        let narrow = shown(&mut Table::new(&COLUMNS), &rows, Some(20));
        assert_eq!(narrow, ["NAME            ID", "a-rather-long…  wh_1"].map(str::to_owned));
    }

    #[test]
    fn later_rows_keep_the_widths_and_get_no_titles() {
        let mut table = Table::new(&COLUMNS);
        shown(&mut table, &[row(["abcdefgh", "u", "1"])], Some(80));
        assert_eq!(shown(&mut table, &[row(["x", "y", "2"])], Some(80)), ["x         y    2"]);
    }

    #[test]
    fn hostile_cells_stay_one_harmless_line() {
        let rows = [row(["x\u{1b}[2J\n\u{9b}31m", "\u{202e}moc\r\t", "\u{7}"])];
        for width in [None, Some(30), Some(200)] {
            let lines = shown(&mut Table::new(&COLUMNS), &rows, width);
            assert_eq!(lines.len(), 2);
            assert!(!lines.concat().contains(crate::domain::text::misleads), "{lines:?}");
        }
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(text_width("日本語a\u{301}"), 7);
        assert_eq!(clipped("日本語", 4), "日…");
    }
}
