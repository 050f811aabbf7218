//! Lists with columns: how wide each is, and the row that is chosen.
//!
//! It draws what it is given and holds nothing. Invariants: a row takes one line; what is cut says so;
//! the chosen row is marked by `>` as well as by reverse video.

use super::pen::Pen;
use crate::tui::text::{fit, fit_middle, padded, width};
use crate::tui::theme::Role;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Columns of the terminal that it takes at least.
    pub width: usize,
    /// Shares of the room that is left; 0 for none.
    pub grows: usize,
    /// Numbers stand at the right.
    pub right: bool,
    /// Cut in the middle: for what differs at its end.
    pub middle: bool,
}

impl Column {
    /// A column of a fixed width.
    #[must_use]
    pub const fn new(title: &'static str, width: usize) -> Self {
        Self { title, width, grows: 0, right: false, middle: false }
    }

    /// For numbers.
    #[must_use]
    pub const fn right(mut self) -> Self {
        self.right = true;
        self
    }

    /// It takes shares of the room that is left.
    #[must_use]
    pub const fn grows(mut self, shares: usize) -> Self {
        self.grows = shares;
        self
    }

    /// Cut in the middle.
    #[must_use]
    pub const fn middle(mut self) -> Self {
        self.middle = true;
        self
    }
}

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Its text, from outside or not.
    pub text: String,
    /// What it is.
    pub role: Role,
}

/// A cell.
pub fn cell(text: impl Into<String>, role: Role) -> Cell {
    Cell { text: text.into(), role }
}

/// A cell of ordinary text.
pub fn text(text: impl Into<String>) -> Cell {
    cell(text, Role::Text)
}

/// The columns with the widths they get.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    widths: Vec<usize>,
    /// Columns that it is shifted by, the first column apart.
    shift: usize,
}

/// What stands before each row: the mark of the chosen one, and one that the user set.
const LEAD: usize = 2;

impl Table {
    /// A table in so many columns of the terminal. Columns that do not fit at all are left out, the
    /// last first.
    #[must_use]
    pub fn new(columns: &[Column], room: usize, shift: usize) -> Self {
        let mut columns = columns.to_vec();
        let needed = |columns: &[Column]| LEAD + columns.iter().map(|column| column.width + 1).sum::<usize>();
        while shift == 0 && columns.len() > 1 && needed(&columns) > room + 1 {
            columns.pop();
        }
        let spare = (room + 1).saturating_sub(needed(&columns));
        let shares: usize = columns.iter().map(|column| column.grows).sum();
        let mut widths: Vec<usize> = columns
            .iter()
            .map(|column| column.width + (spare * column.grows).checked_div(shares).unwrap_or(0))
            .collect();
        let used: usize = LEAD + widths.iter().map(|width| width + 1).sum::<usize>();
        if let Some(last) = columns.iter().rposition(|column| column.grows > 0) {
            widths[last] += (room + 1).saturating_sub(used);
        }
        Self { columns, widths, shift }
    }

    /// Columns of the terminal that a column has, 0 when there was no room for it.
    #[must_use]
    pub fn room(&self, title: &str) -> usize {
        self.columns.iter().position(|one| one.title == title).map_or(0, |at| self.widths[at])
    }

    /// The line of headings; `sorted` names the column that it is sorted by, and whether upwards.
    pub fn headings(&self, pen: &mut Pen<'_>, y: usize, sorted: Option<(&str, bool)>) {
        let cells: Vec<Cell> = self
            .columns
            .iter()
            .map(|column| {
                let mark = match sorted {
                    Some((title, up)) if title == column.title => {
                        if up {
                            "^"
                        } else {
                            "v"
                        }
                    }
                    _ => "",
                };
                let title =
                    if width(column.title) + width(mark) <= self.room(column.title) { column.title } else { "" };
                cell(format!("{title}{mark}"), Role::Heading)
            })
            .collect();
        self.line(pen, y, &cells, "  ");
    }

    /// A row; `lead` is the two columns before it.
    pub fn row(&self, pen: &mut Pen<'_>, y: usize, cells: &[Cell], chosen: bool, marked: bool) {
        let lead = match (chosen, marked) {
            (true, true) => ">*",
            (true, false) => "> ",
            (false, true) => " *",
            (false, false) => "  ",
        };
        self.line(pen, y, cells, lead);
        if chosen {
            pen.choose(1, y, pen.width() - 1);
        }
    }

    fn line(&self, pen: &mut Pen<'_>, y: usize, cells: &[Cell], lead: &str) {
        let glyphs = pen.glyphs();
        let mut x = pen.text(0, y, lead, Role::Text);
        let mut hidden = self.shift;
        for (at, (column, columns)) in self.columns.iter().zip(&self.widths).enumerate() {
            let empty = Cell::default();
            let cell = cells.get(at).unwrap_or(&empty);
            // The first column stays when the others are shifted.
            let columns = if at == 0 {
                *columns
            } else {
                let gone = hidden.min(columns + 1);
                hidden -= gone;
                if gone > *columns {
                    continue;
                }
                columns - gone
            };
            let shown = if column.middle {
                fit_middle(&cell.text, columns, &glyphs)
            } else {
                fit(&cell.text, columns, &glyphs)
            };
            pen.text(x, y, &padded(&shown, columns, column.right), cell.role);
            x += columns + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;

    use super::*;
    use crate::tui::text::Glyphs;
    use crate::tui::theme::Theme;

    fn drawn(columns: &[Column], room: u16, rows: &[&[&str]]) -> Vec<String> {
        let area = Rect::new(0, 0, room, 4);
        let (mut buffer, theme) = (Buffer::empty(area), Theme::default());
        let table = Table::new(columns, usize::from(room), 0);
        let mut pen = Pen::new(&mut buffer, area, &theme, Glyphs::ASCII);
        table.headings(&mut pen, 0, Some(("CODE", true)));
        for (at, row) in rows.iter().enumerate() {
            let cells: Vec<Cell> = row.iter().map(|one| text(*one)).collect();
            table.row(&mut pen, at + 1, &cells, at == 0, at == 1);
        }
        let line =
            |y: u16| (0..room).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>().trim_end().to_owned();
        (0..=u16::try_from(rows.len()).unwrap()).map(line).collect()
    }

    #[test]
    fn room_that_is_left_goes_to_those_that_grow_and_what_does_not_fit_goes() {
        let columns =
            [Column::new("NAME", 4).grows(1), Column::new("CODE", 5).right(), Column::new("URL", 10).middle()];
        let rows: [&[&str]; 2] = [&["aml-watch", "503", "https://risk.example.net/aml"], &["bank", "0", "x"]];
        assert_eq!(
            drawn(&columns, 30, &rows),
            ["  NAME        CODE^ URL", "> aml-watch     503 https:~aml", " *bank            0 x"]
        );
        assert_eq!(drawn(&columns, 16, &rows), ["  NAME     CODE^", "> aml-wat~   503", " *bank         0"]);
    }
}
