//! Puts text into a rectangle of the screen and never outside of it.
//!
//! It knows roles and not colours, and it knows no screens. Invariant: whatever it is given, nothing
//! is written outside of its area, and nothing that [`crate::domain::text`] would not show.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::tui::text::{Glyphs, fit, width};
use crate::tui::theme::{Role, Theme};

/// A place to draw in. Rows and columns count from its own corner.
pub struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    theme: &'a Theme,
    glyphs: Glyphs,
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The text.
    pub text: String,
    /// What it is.
    pub role: Role,
}

/// A piece of a line.
pub fn span(text: impl Into<String>, role: Role) -> Span {
    Span { text: text.into(), role }
}

/// A piece of a line in ordinary text.
pub fn plain(text: impl Into<String>) -> Span {
    span(text, Role::Text)
}

impl<'a> Pen<'a> {
    /// A pen for part of a buffer.
    pub fn new(buffer: &'a mut Buffer, area: Rect, theme: &'a Theme, glyphs: Glyphs) -> Self {
        let area = area.intersection(buffer.area);
        Self { buffer, area, theme, glyphs }
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        usize::from(self.area.height)
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        usize::from(self.area.width)
    }

    /// Characters to draw with.
    #[must_use]
    pub fn glyphs(&self) -> Glyphs {
        self.glyphs
    }

    /// Where it is on the screen.
    #[must_use]
    pub fn area(&self) -> Rect {
        self.area
    }

    /// The style of a role.
    #[must_use]
    pub fn style(&self, role: Role) -> Style {
        self.theme.style(role)
    }

    /// A pen for a part of this one's area.
    pub fn part(&mut self, x: usize, y: usize, columns: usize, rows: usize) -> Pen<'_> {
        let at = |from: u16, by: usize| from.saturating_add(u16::try_from(by).unwrap_or(u16::MAX));
        let area = Rect {
            x: at(self.area.x, x),
            y: at(self.area.y, y),
            width: u16::try_from(columns).unwrap_or(u16::MAX),
            height: u16::try_from(rows).unwrap_or(u16::MAX),
        };
        let area = area.intersection(self.area);
        Pen { buffer: self.buffer, area, theme: self.theme, glyphs: self.glyphs }
    }

    /// Writes a text with a style of the caller's; gives the column behind it.
    pub fn styled(&mut self, x: usize, y: usize, text: &str, style: Style) -> usize {
        let left = self.width().saturating_sub(x);
        if y >= self.height() || left == 0 {
            return x;
        }
        let text = fit(text, left, &self.glyphs);
        let (Ok(column), Ok(row)) = (u16::try_from(x), u16::try_from(y)) else { return x };
        self.buffer.set_stringn(self.area.x + column, self.area.y + row, &text, left, style);
        x + width(&text)
    }

    /// Writes a text; gives the column behind it. What does not fit is cut, visibly.
    pub fn text(&mut self, x: usize, y: usize, text: &str, role: Role) -> usize {
        self.styled(x, y, text, self.theme.style(role))
    }

    /// Writes a text that ends at the right edge.
    pub fn right(&mut self, y: usize, text: &str, role: Role) {
        let shown = fit(text, self.width(), &self.glyphs).into_owned();
        self.text(self.width() - width(&shown), y, &shown, role);
    }

    /// Writes pieces one behind the other; gives the column behind them.
    pub fn spans(&mut self, x: usize, y: usize, spans: &[Span]) -> usize {
        spans.iter().fold(x, |x, piece| self.text(x, y, &piece.text, piece.role))
    }

    /// The heading of a section: a rule with a title in it, and perhaps something at its end.
    pub fn rule(&mut self, y: usize, title: &str, end: &str) {
        let line = self.glyphs.rule.to_string().repeat(self.width());
        self.text(0, y, &line, Role::Dim);
        if !title.is_empty() {
            self.text(2, y, &format!(" {title} "), Role::Heading);
        }
        let columns = width(end) + 4;
        if !end.is_empty() && width(title) + 6 + columns < self.width() {
            self.text(self.width() - columns, y, &format!(" {end} "), Role::Dim);
        }
    }

    /// A vertical rule over the whole height.
    pub fn bar(&mut self, x: usize) {
        let bar = self.glyphs.bar.to_string();
        (0..self.height()).for_each(|y| {
            self.text(x, y, &bar, Role::Dim);
        });
    }

    /// Gives part of a row the look of what is chosen.
    pub fn choose(&mut self, x: usize, y: usize, columns: usize) {
        let area = self.part(x, y, columns, 1).area;
        let chosen = self.theme.style(Role::Selected);
        for position in area.positions() {
            if let Some(cell) = self.buffer.cell_mut(position) {
                let bold = cell.modifier & ratatui::style::Modifier::BOLD;
                cell.set_style(Style::reset().patch(chosen).add_modifier(bold));
            }
        }
    }

    /// Empties the area.
    pub fn clear(&mut self) {
        for position in self.area.positions() {
            if let Some(cell) = self.buffer.cell_mut(position) {
                cell.reset();
            }
        }
    }

    /// A box in the middle with a title and a foot; gives a pen for what is in it.
    pub fn dialog(&mut self, columns: usize, rows: usize, title: &str, foot: &str) -> Pen<'_> {
        let (columns, rows) = ((columns + 4).min(self.width()), (rows + 2).min(self.height()));
        let (x, y) = ((self.width() - columns) / 2, (self.height() - rows) / 2);
        let mut frame = self.part(x, y, columns, rows);
        frame.clear();
        let [top_left, top_right, bottom_right, bottom_left] = frame.glyphs.corners;
        let line = frame.glyphs.rule.to_string().repeat(columns.saturating_sub(2));
        let bar = frame.glyphs.bar.to_string();
        frame.text(0, 0, &format!("{top_left}{line}{top_right}"), Role::Text);
        frame.text(0, rows.saturating_sub(1), &format!("{bottom_left}{line}{bottom_right}"), Role::Text);
        for y in 1..rows.saturating_sub(1) {
            frame.text(0, y, &bar, Role::Text);
            frame.text(columns.saturating_sub(1), y, &bar, Role::Text);
        }
        let room = columns.saturating_sub(6);
        let shown = |text: &str, glyphs: &Glyphs| format!(" {} ", fit(text, room, glyphs));
        let glyphs = frame.glyphs;
        if !title.is_empty() && room > 0 {
            frame.text(2, 0, &shown(title, &glyphs), Role::Heading);
        }
        if !foot.is_empty() && room > 0 {
            frame.text(2, rows.saturating_sub(1), &shown(foot, &glyphs), Role::Dim);
        }
        let area = frame.area;
        let mut inside = Pen { buffer: self.buffer, area, theme: self.theme, glyphs };
        let inner = inside.part(2, 1, columns.saturating_sub(4), rows.saturating_sub(2)).area;
        Pen { buffer: self.buffer, area: inner, theme: self.theme, glyphs }
    }

    /// Buttons in a row, the chosen one in reverse and with a `>`: it can be told without colour.
    pub fn buttons(&mut self, x: usize, y: usize, labels: &[&str], chosen: usize) -> usize {
        let mut x = x;
        for (at, label) in labels.iter().enumerate() {
            let mark = if at == chosen { ">" } else { " " };
            let begin = x;
            x = self.text(x, y, &format!("{mark}[ {label} ]"), Role::Text);
            if at == chosen {
                self.choose(begin + 1, y, (x - begin).saturating_sub(1));
            }
            x += 2;
        }
        x
    }

    /// A field in which is typed, with the cursor when it has the focus.
    pub fn field(&mut self, x: usize, y: usize, columns: usize, input: &tui_input::Input, focus: bool) {
        let columns = columns.min(self.width().saturating_sub(x));
        if columns == 0 {
            return;
        }
        // The part that holds the cursor; escapes make it longer, so places are of what is shown.
        let value = input.value();
        let before: String = value.chars().take(input.cursor()).collect();
        let before = crate::tui::text::safe(&before).into_owned();
        let shown = crate::tui::text::safe(value).into_owned();
        let cursor = width(&before);
        let skip = if focus { (cursor + 1).saturating_sub(columns) } else { 0 };
        let mut column = 0;
        let mut visible = String::new();
        for character in shown.chars() {
            if column >= skip {
                visible.push(character);
            }
            column += unicode_width::UnicodeWidthChar::width(character).unwrap_or(0);
        }
        let mut part = self.part(x, y, columns, 1);
        part.text(0, 0, &visible, Role::Text);
        if focus {
            let at = cursor - skip.min(cursor);
            let under = u16::try_from(at).unwrap_or(u16::MAX);
            let style = Style::reset().patch(part.theme.style(Role::Selected));
            let position = (part.area.x.saturating_add(under), part.area.y);
            if at < part.width()
                && let Some(cell) = part.buffer.cell_mut(position)
            {
                cell.set_style(style);
            }
        }
    }
}
