//! A text that is looked at: JSON is laid out and coloured, everything else is shown as it is.
//!
//! The bytes themselves are never changed: names keep their order and numbers their digits, and what
//! is copied or written is what was posted. Invariant: however large or odd the bytes are, a screen of
//! them is drawn in bounded time, and nothing of them steers the terminal.

use std::cell::Cell;
use std::collections::BTreeSet;

use serde::de::IgnoredAny;

use crate::tui::keymap::Action;
use crate::tui::text::{count, safe};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

/// Larger texts are laid out without colours.
const COLOURED_MAX: usize = 256 << 10;
/// Larger texts are shown as they are.
const LAID_OUT_MAX: usize = 2 << 20;
/// A line of a text that is shown as it is: longer ones are broken.
const LINE_MAX: usize = 4096;

/// A line as it is shown.
#[derive(Clone, Debug, Default)]
struct Line {
    indent: usize,
    text: String,
    /// Where another role begins.
    roles: Vec<(usize, Role)>,
    /// The line with the bracket that closes the one at the end of this.
    closes: Option<usize>,
}

/// A text that is looked at.
#[derive(Clone, Debug)]
pub struct Document {
    bytes: Vec<u8>,
    lines: Vec<Line>,
    folded: BTreeSet<usize>,
    /// Place of the line that one is at, among all lines.
    at: usize,
    /// Place of the first line on screen, among those that are shown.
    top: Cell<usize>,
    left: usize,
    /// Rows of the screen.
    pub height: usize,
    wanted: String,
    /// Whether it is JSON.
    pub is_json: bool,
}

impl Document {
    /// Reads a text.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&bytes);
        let laid_out = (text.len() <= LAID_OUT_MAX && serde_json::from_str::<IgnoredAny>(&text).is_ok())
            .then(|| lay_out(&text, text.len() <= COLOURED_MAX));
        let is_json = laid_out.is_some();
        let lines = laid_out.unwrap_or_else(|| as_it_is(&text));
        Self {
            lines,
            folded: BTreeSet::new(),
            at: 0,
            top: Cell::new(0),
            left: 0,
            height: 20,
            wanted: String::new(),
            is_json,
            bytes,
        }
    }

    /// The bytes as they came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// `line 8 of 41`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("line {} of {}", count(self.at as u64 + 1), count(self.lines.len() as u64))
    }

    /// The text of the line that one is at, without its indentation.
    #[must_use]
    pub fn line(&self) -> &str {
        self.lines.get(self.at).map_or("", |line| line.text.as_str())
    }

    /// Names on the way from the root to the line that one is at: a JSON Pointer of what stands there.
    #[must_use]
    pub fn pointer(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        let mut indent = usize::MAX;
        for line in self.lines.get(..=self.at).unwrap_or_default().iter().rev() {
            if line.indent < indent {
                indent = line.indent;
                let name = line.text.strip_prefix('"').and_then(|rest| rest.split_once("\":"));
                names.extend(name.map(|(name, _)| name.replace('~', "~0").replace('/', "~1")));
            }
        }
        names.iter().rev().map(|name| format!("/{name}")).collect()
    }

    /// Goes to a line.
    pub fn go(&mut self, line: usize) {
        self.at = line.min(self.lines.len().saturating_sub(1));
    }

    /// Moves, folds, and goes to matches. `false` when the action is none of these.
    pub fn act(&mut self, action: Action) -> bool {
        let page = self.height.max(2) - 1;
        match action {
            Action::Up => self.by(-1),
            Action::Down => self.by(1),
            Action::HalfUp => self.by(-(page as isize / 2).max(1)),
            Action::HalfDown => self.by((page as isize / 2).max(1)),
            Action::PageUp => self.by(-(page as isize)),
            Action::PageDown => self.by(page as isize),
            Action::Top => self.at = 0,
            Action::Bottom => self.at = self.lines.len().saturating_sub(1),
            Action::Left => self.left = self.left.saturating_sub(8),
            Action::Right => self.left = (self.left + 8).min(LINE_MAX),
            Action::Fold => self.fold(),
            Action::FoldAll => self.fold_all(),
            Action::NextMatch => self.next_match(true),
            Action::PreviousMatch => self.next_match(false),
            _ => return false,
        }
        self.unhide();
        true
    }

    fn by(&mut self, lines: isize) {
        let shown = self.shown();
        let place = shown.partition_point(|line| *line < self.at);
        let place = place.saturating_add_signed(lines).min(shown.len().saturating_sub(1));
        self.at = shown.get(place).copied().unwrap_or(0);
    }

    /// Places of the lines that no fold hides.
    fn shown(&self) -> Vec<usize> {
        let mut shown = Vec::with_capacity(self.lines.len().min(1 << 16));
        let mut at = 0;
        while at < self.lines.len() {
            shown.push(at);
            at = match self.lines[at].closes {
                Some(end) if self.folded.contains(&at) => end + 1,
                _ => at + 1,
            };
        }
        shown
    }

    /// A line that one is at is never hidden.
    fn unhide(&mut self) {
        let at = self.at;
        let lines = &self.lines;
        self.folded.retain(|fold| !(*fold < at && lines[*fold].closes.is_some_and(|end| at <= end)));
    }

    fn fold(&mut self) {
        let inside = |line: &usize| self.lines[*line].closes.is_some_and(|end| *line <= self.at && self.at <= end);
        let Some(around) = (0..=self.at).rev().find(inside) else { return };
        if !self.folded.remove(&around) {
            self.folded.insert(around);
            self.at = around;
        }
    }

    fn fold_all(&mut self) {
        if self.folded.is_empty() {
            // The outermost bracket stays open: everything behind it would be nothing.
            self.folded = (1..self.lines.len()).filter(|line| self.lines[*line].closes.is_some()).collect();
            self.at = 0;
        } else {
            self.folded.clear();
        }
    }

    /// Looks for a text, from where one is; says how that went.
    pub fn find(&mut self, text: &str) -> Option<String> {
        self.wanted = text.to_lowercase();
        if self.wanted.is_empty() {
            return None;
        }
        if !self.matches(self.at) {
            self.next_match(true);
        }
        self.unhide();
        let number = (0..self.lines.len()).filter(|line| self.matches(*line)).count();
        Some(match number {
            0 => format!("nothing matches {}", safe(text)),
            1 => "1 line matches".to_owned(),
            number => format!("{} lines match; n and N go on", count(number as u64)),
        })
    }

    /// Forgets what was looked for. `false` when there was nothing.
    pub fn clear_search(&mut self) -> bool {
        !std::mem::take(&mut self.wanted).is_empty()
    }

    fn matches(&self, line: usize) -> bool {
        !self.wanted.is_empty()
            && self.lines.get(line).is_some_and(|line| line.text.to_lowercase().contains(&self.wanted))
    }

    fn next_match(&mut self, down: bool) {
        let all = self.lines.len();
        let found = (1..=all)
            .map(|step| if down { (self.at + step) % all } else { (self.at + all - step) % all })
            .find(|line| self.matches(*line));
        self.at = found.unwrap_or(self.at);
    }

    /// Draws it; with `focus` the line that one is at is marked.
    pub fn view(&self, pen: &mut Pen<'_>, focus: bool) {
        let shown = self.shown();
        let place = shown.partition_point(|line| *line < self.at);
        let rows = pen.height().max(1);
        // Where it begins is of no meaning to anybody else: it only has to hold the line one is at.
        let top = self.top.get().clamp((place + 1).saturating_sub(rows), place).min(shown.len().saturating_sub(rows));
        self.top.set(top);
        let digits = self.lines.len().to_string().len().max(3);
        for (y, number) in shown.iter().skip(top).take(rows).enumerate() {
            let line = &self.lines[*number];
            let chosen = focus && *number == self.at;
            let mark = if chosen { ">" } else { " " };
            let x = pen.text(0, y, &format!("{mark}{:>digits$}  ", number + 1), Role::Dim);
            let (columns, _) = (pen.width().saturating_sub(x), 0);
            let mut part = pen.part(x, y, columns, 1);
            self.draw(line, *number, &mut part);
        }
    }

    fn draw(&self, line: &Line, number: usize, pen: &mut Pen<'_>) {
        let mut x = line.indent as isize - self.left as isize;
        let matched = self.matches(number);
        let mut put = |text: &str, role: Role, pen: &mut Pen<'_>| {
            // What lies left of the screen is left out, character by character.
            let shown = safe(text);
            let skip = usize::try_from(-x).unwrap_or(0);
            let visible: String = shown.chars().skip(skip).collect();
            if pen.width() as isize > x {
                let role = if matched && role != Role::Dim { Role::Match } else { role };
                pen.text(usize::try_from(x).unwrap_or(0), 0, &visible, role);
            }
            x += shown.chars().count() as isize;
        };
        let mut begin = 0;
        let mut role = Role::Text;
        for (at, next) in &line.roles {
            put(&line.text[begin..*at], role, pen);
            (begin, role) = (*at, *next);
        }
        put(&line.text[begin..], role, pen);
        if let (Some(end), true) = (line.closes, self.folded.contains(&number)) {
            let closing = self.lines[end].text.chars().next().unwrap_or(' ');
            let inside = (number + 1..end).filter(|one| self.lines[*one].indent == line.indent + 2).count();
            let what = if closing == ']' { "items" } else { "names" };
            put(&format!(" {inside} {what} {closing}"), Role::Dim, pen);
        }
    }
}

/// Text that is not JSON, or too large to be laid out.
fn as_it_is(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        loop {
            let cut = rest.char_indices().nth(LINE_MAX).map_or(rest.len(), |(at, _)| at);
            lines.push(Line { text: rest[..cut].replace('\t', "    "), ..Line::default() });
            rest = &rest[cut..];
            if rest.is_empty() {
                break;
            }
        }
    }
    if lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}

/// Lays out a text that is known to be JSON. Tokens stay as they were written.
fn lay_out(json: &str, coloured: bool) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let mut open: Vec<usize> = Vec::new();
    let mut rest = json;
    let mut expects_name = false;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_whitespace() || first == '\u{feff}' {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let length = token(rest, first);
        let text = &rest[..length];
        rest = &rest[length..];
        match first {
            '{' | '[' => {
                add(&mut lines, text, Role::Text, coloured);
                let next = rest.trim_start();
                if next.starts_with(['}', ']']) {
                    add(&mut lines, &next[..1], Role::Text, coloured);
                    rest = &next[1..];
                    continue;
                }
                open.push(lines.len() - 1);
                expects_name = first == '{';
                lines.push(Line { indent: open.len() * 2, ..Line::default() });
            }
            '}' | ']' => {
                let begin = open.pop();
                lines.push(Line { indent: open.len() * 2, ..Line::default() });
                add(&mut lines, text, Role::Text, coloured);
                if let Some(begin) = begin {
                    lines[begin].closes = Some(lines.len() - 1);
                }
            }
            ',' => {
                add(&mut lines, text, Role::Text, coloured);
                let around = open.last().map(|line| lines[*line].text.ends_with('{'));
                expects_name = around.unwrap_or(false);
                lines.push(Line { indent: open.len() * 2, ..Line::default() });
            }
            ':' => {
                add(&mut lines, ": ", Role::Text, coloured);
                expects_name = false;
            }
            '"' => add(&mut lines, text, if expects_name { Role::JsonName } else { Role::JsonText }, coloured),
            _ => add(&mut lines, text, Role::JsonValue, coloured),
        }
    }
    lines
}

fn add(lines: &mut [Line], text: &str, role: Role, coloured: bool) {
    if let Some(line) = lines.last_mut() {
        if coloured {
            line.roles.push((line.text.len(), role));
        }
        line.text.push_str(text);
    }
}

/// Bytes of the token at the beginning.
fn token(text: &str, first: char) -> usize {
    match first {
        '"' => {
            let mut escaped = false;
            let end = text.char_indices().skip(1).find(|(_, character)| {
                let ends = *character == '"' && !escaped;
                escaped = *character == '\\' && !escaped;
                ends
            });
            end.map_or(text.len(), |(at, _)| at + 1)
        }
        '{' | '}' | '[' | ']' | ',' | ':' => 1,
        _ => text
            .find(|c: char| c.is_ascii_whitespace() || ",]}:".contains(c))
            .unwrap_or(text.len())
            .max(first.len_utf8()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(document: &Document) -> Vec<String> {
        let lines = document.shown().into_iter().map(|at| &document.lines[at]);
        lines.map(|line| format!("{}{}", " ".repeat(line.indent), line.text)).collect()
    }

    #[test]
    fn json_is_laid_out_and_nothing_of_it_changes() {
        let document = Document::new(br#"{"z":1.50,"a":{"x":[],"y":[1,{"k":"a\"b:,"}]},"e":{}}"#.to_vec());
        assert_eq!(
            shown(&document),
            [
                "{",
                "  \"z\": 1.50,",
                "  \"a\": {",
                "    \"x\": [],",
                "    \"y\": [",
                "      1,",
                "      {",
                "        \"k\": \"a\\\"b:,\"",
                "      }",
                "    ]",
                "  },",
                "  \"e\": {}",
                "}"
            ]
        );
    }

    #[test]
    fn folds_hide_and_a_match_opens_them() {
        let mut document = Document::new(br#"{"a":{"x":1,"y":2},"b":[1,2]}"#.to_vec());
        document.act(Action::FoldAll);
        assert_eq!(shown(&document), ["{", "  \"a\": {", "  \"b\": [", "}"]);
        assert_eq!(document.find("\"Y\"").as_deref(), Some("1 line matches"));
        assert_eq!(document.line(), "\"y\": 2");
        assert_eq!(document.pointer(), "/a/y");
        document.act(Action::Fold);
        assert_eq!((document.line(), document.pointer()), ("\"a\": {", "/a".to_owned()));
        assert!(document.clear_search() && !document.clear_search());
    }

    #[test]
    fn anything_can_be_looked_at() {
        let long = vec![b'x'; 3 << 20];
        for bytes in [&b""[..], b"\xff\xfe\x1b[2J", b"{\"a\":", b"null", b"[", b"\n\n", &long] {
            let mut document = Document::new(bytes.to_vec());
            for action in
                [Action::Down, Action::FoldAll, Action::Bottom, Action::NextMatch, Action::Fold, Action::PageUp]
            {
                document.act(action);
            }
            document.find("x");
            assert_ne!(document.len(), 0);
            assert_eq!(document.bytes(), bytes);
        }
    }
}
