//! The only place of the program that writes to standard output and standard error.
//!
//! Data goes to standard output, everything else to standard error. It does not decide what is
//! said, and it does not log: that is `logging`.
//!
//! Invariants: text for people holds no control character and nothing invisible, whatever it was
//! made from; with `--json` a line of standard output is one whole JSON object and there is
//! nothing else; escape sequences for colour go only to who asked for them.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use jiff::tz::TimeZone;
use serde::Serialize;

use super::failure::Failure;
use crate::domain::text::{misleads, printable};
use crate::domain::time::Timestamp;

pub mod csv;
mod table;

pub(super) use table::{Cell, Column, Table};

/// The look of a piece of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    Good,
    Bad,
    Waiting,
    Dim,
    Heading,
}

impl Style {
    const fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\u{1b}[32m",
            Self::Bad => "\u{1b}[31m",
            Self::Waiting => "\u{1b}[33m",
            Self::Dim => "\u{1b}[2m",
            Self::Heading => "\u{1b}[1m",
        }
    }

    /// For the state of a delivery.
    pub(super) fn of_state(state: &str) -> Self {
        match state {
            "delivered" => Self::Good,
            "failed" => Self::Bad,
            "pending" => Self::Waiting,
            "cancelled" | "skipped" => Self::Dim,
            _ => Self::Plain,
        }
    }
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How output looks; decided once at the start.
#[derive(Clone, Debug)]
pub struct Look {
    /// JSON instead of text for people.
    pub json: bool,
    /// No notes.
    pub quiet: bool,
    /// Colours on standard output.
    pub color: bool,
    /// Columns of the terminal that standard output is, if it is one.
    pub width: Option<usize>,
    /// There is a person who can be asked.
    pub can_ask: bool,
    /// Standard error is a terminal: progress is one line that is written anew.
    pub live: bool,
    /// For showing instants.
    pub zone: TimeZone,
    /// For leaving out the year.
    pub now: Timestamp,
}

impl Look {
    /// How it looks in this process.
    pub(super) fn of_process(
        json: bool,
        quiet: bool,
        color: ColorChoice,
        plain: bool,
        zone: TimeZone,
        now: Timestamp,
    ) -> Self {
        let stdout = io::stdout();
        let width = stdout.is_terminal().then(|| terminal_width(&stdout));
        let color = match color {
            ColorChoice::Auto => width.is_some() && !plain,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        let live = io::stderr().is_terminal();
        let can_ask = live && io::stdin().is_terminal();
        Self { json, quiet, color, width, can_ask, live, zone, now }
    }
}

fn terminal_width(stdout: &io::Stdout) -> usize {
    // Some terminals (serial lines, editors) do not know their size and say 0.
    let told = rustix::termios::tcgetwinsize(stdout).map_or(0, |size| usize::from(size.ws_col));
    if told == 0 { 80 } else { told }
}

/// Standard output and standard error.
pub struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    look: Look,
    /// Width of the progress that stands on the last line of standard error.
    progress: usize,
}

impl Output {
    /// That of this process.
    #[must_use]
    pub fn process(look: Look) -> Self {
        Self { out: Box::new(io::stdout()), err: Box::new(io::stderr()), look, progress: 0 }
    }

    /// Whether JSON is wanted.
    #[must_use]
    pub const fn json(&self) -> bool {
        self.look.json
    }

    /// Lists come as JSON from now on.
    pub(super) const fn use_json(&mut self) {
        self.look.json = true;
    }

    /// Whether there is a person who can be asked.
    #[must_use]
    pub const fn can_ask(&self) -> bool {
        self.look.can_ask
    }

    /// One JSON object on a line of its own.
    ///
    /// # Errors
    ///
    /// [`Failure`] when standard output cannot be written; the same holds for all below.
    pub fn object(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(object)
            .map_err(|error| Failure::new(super::ExitCode::Internal, format!("not to be had as JSON: {error}")))?;
        let mut line = escaped(&text);
        line.push('\n');
        self.data(line.as_bytes())
    }

    /// Lines for people, on standard output.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        let shown = harmless(text);
        self.data(shown.as_bytes())
    }

    /// That something was done, for people: standard output, and not with `--quiet`.
    pub(super) fn done(&mut self, text: &str) -> Result<(), Failure> {
        if self.look.quiet { Ok(()) } else { self.text(text) }
    }

    /// Names and values under each other; empty values are left out.
    pub(super) fn fields(&mut self, fields: &[(&str, Cell)]) -> Result<(), Failure> {
        let shown = || fields.iter().filter(|(_, cell)| !cell.text.is_empty());
        let width = shown().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut lines = String::new();
        for (name, cell) in shown() {
            self.styled(&mut lines, &Cell::styled(format!("{name:<width$}"), Style::Dim));
            lines.push_str("  ");
            self.styled(&mut lines, cell);
            lines.push('\n');
        }
        self.data(lines.as_bytes())
    }

    /// Rows of a table.
    pub(super) fn rows(&mut self, table: &mut Table, rows: &[Vec<Cell>]) -> Result<(), Failure> {
        let mut lines = String::new();
        for line in table.lines(rows, self.look.width) {
            line.iter().for_each(|cell| self.styled(&mut lines, cell));
            lines.truncate(lines.trim_end_matches(' ').len());
            lines.push('\n');
        }
        self.data(lines.as_bytes())
    }

    /// One line of pieces, each in its style.
    pub(super) fn line(&mut self, pieces: &[Cell]) -> Result<(), Failure> {
        let mut line = String::new();
        pieces.iter().for_each(|piece| self.styled(&mut line, piece));
        line.push('\n');
        self.data(line.as_bytes())
    }

    /// A line of comma-separated values.
    pub(super) fn values(&mut self, fields: &[csv::Field]) -> Result<(), Failure> {
        self.data(csv::line(fields).as_bytes())
    }

    /// A payload: as it is, except on a terminal, which it could steer.
    pub(super) fn payload(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.look.width.is_none() {
            return self.data(bytes);
        }
        self.text(&String::from_utf8_lossy(bytes).replace('\t', "    "))
    }

    /// A remark on standard error; not with `--quiet`.
    pub fn note(&mut self, text: &str) {
        if !self.look.quiet {
            self.remark(text);
        }
    }

    /// A warning on standard error; even with `--quiet`.
    pub(super) fn warn(&mut self, text: &str) {
        self.remark(&format!("warning: {text}"));
    }

    /// Why the command failed, on standard error.
    pub(super) fn failure(&mut self, failure: &Failure) {
        if failure.exit == super::ExitCode::BrokenPipe {
            return;
        }
        self.remark(&format!("postrider: {}", failure.text));
        if let Some(advice) = &failure.advice {
            self.remark(&format!("hint: {advice}"));
        }
    }

    /// How far something is, in place of what it said before; on a terminal only.
    pub(super) fn progress(&mut self, text: &str) {
        if !self.look.live || self.look.quiet {
            return;
        }
        let shown = printable(text);
        let width = table::text_width(&shown);
        let rest = " ".repeat(self.progress.saturating_sub(width));
        let _ = write!(self.err, "\r{shown}{rest}").and_then(|()| self.err.flush());
        self.progress = width;
    }

    /// Lines on standard error.
    pub(super) fn remark(&mut self, text: &str) {
        if std::mem::take(&mut self.progress) > 0 {
            let _ = self.err.write_all(b"\n");
        }
        // There is nowhere to say that standard error cannot be written.
        let _ = self.err.write_all(harmless(text).as_bytes()).and_then(|()| self.err.flush());
    }

    /// Asks the person at the terminal; `None` at the end of the input.
    pub(super) fn ask(&mut self, question: &str) -> Option<String> {
        let _ = write!(self.err, "{} ", printable(question)).and_then(|()| self.err.flush());
        let mut answer = String::new();
        let read = io::stdin().lock().take(4096).read_line(&mut answer).ok()?;
        (read > 0).then(|| answer.trim().to_owned())
    }

    /// An instant (RFC 3339) as people read it, with its zone.
    #[must_use]
    pub fn time(&self, instant: &str) -> String {
        self.zoned(instant).map_or_else(|| instant.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S %Z").to_string())
    }

    /// The same for a column of a table: short on a terminal; see `note_zone`.
    pub(super) fn short_time(&self, instant: &str) -> String {
        let (Some(at), Some(now), Some(_)) = (self.zoned(instant), self.now(), self.look.width) else {
            return self.time(instant);
        };
        // Around a change of the clocks, both zones appear in one list.
        let zone = if at.offset() == now.offset() { "" } else { " %Z" };
        let day = if at.year() == now.year() { "%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M" };
        at.strftime(&format!("{day}{zone}")).to_string()
    }

    /// An instant with milliseconds, without the day.
    pub(super) fn time_of_day(&self, instant: &str) -> String {
        self.zoned(instant).map_or_else(|| instant.to_owned(), |at| at.strftime("%H:%M:%S.%3f").to_string())
    }

    /// Says in which zone the short times of a table are; elsewhere each time names its own.
    pub(super) fn note_zone(&mut self) {
        if self.look.width.is_some() && !self.look.json {
            let zone = self.zone();
            self.note(&format!("times in {zone}"));
        }
    }

    /// The name of the zone in use now.
    fn zone(&self) -> String {
        self.now().map_or_else(String::new, |now| now.strftime("%Z").to_string())
    }

    fn now(&self) -> Option<jiff::Zoned> {
        self.zoned(&self.look.now.to_string())
    }

    fn zoned(&self, instant: &str) -> Option<jiff::Zoned> {
        Some(instant.parse::<jiff::Timestamp>().ok()?.to_zoned(self.look.zone.clone()))
    }

    fn styled(&self, into: &mut String, cell: &Cell) {
        let sequence = if self.look.color && !cell.text.is_empty() { cell.style.sequence() } else { "" };
        into.push_str(sequence);
        into.push_str(&cell.text);
        into.push_str(if sequence.is_empty() { "" } else { "\u{1b}[0m" });
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        // In one piece and flushed, so that `tail` in a pipe is on time.
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(|error| Failure::output(&error))
    }
}

/// The lines of a text, each made harmless.
fn harmless(text: &str) -> String {
    text.lines().fold(String::with_capacity(text.len() + 1), |shown, line| shown + &printable(line) + "\n")
}

/// JSON text with everything escaped that could steer a terminal: the same data.
fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        if misleads(character) {
            // Outside of strings JSON has only ASCII, so this is inside one.
            for unit in character.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written, for looking at afterwards.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(in crate::cli) fn look() -> Look {
        Look {
            json: false,
            quiet: false,
            color: false,
            width: None,
            can_ask: false,
            live: false,
            zone: TimeZone::UTC,
            now: Timestamp::from_millis(1_795_425_932_045),
        }
    }

    pub(in crate::cli) fn memory(look: Look) -> (Output, Written, Written) {
        let (out, err) = (Written::default(), Written::default());
        (Output { out: Box::new(out.clone()), err: Box::new(err.clone()), look, progress: 0 }, out, err)
    }

    const HOSTILE: &str = "x\u{1b}[2J\u{9b}31m\n\u{202e}\u{7f}\u{e0041}é";

    #[test]
    fn a_json_line_is_one_line_of_the_same_data() {
        let (mut output, out, _) = memory(Look { json: true, ..look() });
        output.object(&serde_json::json!({"name": HOSTILE})).unwrap();
        output.object(&serde_json::json!({"n": 1})).unwrap();
        let text = out.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(!lines.concat().contains(misleads), "{text}");
        let back: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(back["name"], HOSTILE);
    }

    #[test]
    fn text_for_people_cannot_steer_the_terminal() {
        let (mut output, out, err) = memory(Look { width: Some(100), ..look() });
        output.fields(&[("name", HOSTILE.into()), ("empty", "".into())]).unwrap();
        output.rows(&mut Table::new(&[Column::fixed("NAME")]), &[vec![HOSTILE.into()]]).unwrap();
        output.payload(HOSTILE.as_bytes()).unwrap();
        output.note(HOSTILE);
        output.failure(&Failure::new(super::super::ExitCode::No, HOSTILE).advise(HOSTILE));
        let text = out.text() + &err.text();
        assert!(!text.replace('\n', "").contains(misleads), "{text:?}");
        assert!(!text.contains("empty"));
    }

    #[test]
    fn a_payload_in_a_pipe_is_untouched() {
        let (mut output, out, _) = memory(look());
        output.payload(HOSTILE.as_bytes()).unwrap();
        assert_eq!(out.text(), HOSTILE);
    }

    #[test]
    fn colours_are_only_there_when_asked_for() {
        let rows = [vec![Cell::styled("failed", Style::Bad)]];
        let (mut output, out, _) = memory(look());
        output.rows(&mut Table::new(&[Column::fixed("STATE")]), &rows).unwrap();
        assert_eq!(out.text(), "STATE\nfailed\n");
        let (mut output, out, _) = memory(Look { color: true, ..look() });
        output.rows(&mut Table::new(&[Column::fixed("STATE")]), &rows).unwrap();
        assert_eq!(out.text(), "\u{1b}[1mSTATE\u{1b}[0m\n\u{1b}[31mfailed\u{1b}[0m\n");
    }

    #[test]
    fn quiet_keeps_data_and_errors() {
        let (mut output, out, err) = memory(Look { quiet: true, ..look() });
        output.done("Created.").unwrap();
        output.note("a remark");
        output.text("data").unwrap();
        output.warn("careful");
        assert_eq!((out.text().as_str(), err.text().as_str()), ("data\n", "warning: careful\n"));
    }

    #[test]
    fn progress_is_one_line_on_a_terminal_and_nothing_elsewhere() {
        let (mut output, _, err) = memory(Look { live: true, ..look() });
        output.progress("12 of 100");
        output.progress("9\u{1b}");
        output.note("done");
        assert_eq!(err.text(), "\r12 of 100\r9\\u{1b}  \ndone\n");
        for look in [look(), Look { live: true, quiet: true, ..look() }] {
            let (mut output, _, err) = memory(look);
            output.progress("12 of 100");
            assert_eq!(err.text(), "");
        }
    }

    #[test]
    fn instants_are_shown_in_the_zone_that_was_asked_for() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let (output, _, _) = memory(Look { zone, width: Some(80), ..look() });
        assert_eq!(output.time("2026-11-23T09:25:32.045Z"), "2026-11-23 10:25:32 CET");
        assert_eq!(output.short_time("2026-11-23T09:25:32.045Z"), "11-23 10:25:32");
        assert_eq!(output.short_time("2026-07-01T09:25:32Z"), "07-01 11:25:32 CEST");
        assert_eq!(output.short_time("2025-11-23T09:25:32Z"), "2025-11-23 10:25");
        assert_eq!(output.time_of_day("2026-11-23T09:25:32.045Z"), "10:25:32.045");
        assert_eq!((output.time("soon").as_str(), output.zone().as_str()), ("soon", "CET"));
    }

    #[test]
    fn a_reader_that_left_ends_the_command_quietly() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut output, _, err) = memory(look());
        output.out = Box::new(Gone);
        let failure = output.text("data").unwrap_err();
        output.failure(&failure);
        assert_eq!((failure.exit.number(), err.text().as_str()), (141, ""));
    }
}
