//! Text on the screen: what may be shown, how wide it is, how it is cut, and how times and amounts read.
//!
//! It draws nothing. Whatever comes from outside goes through [`safe`] before it is measured, so that
//! widths are of what is shown; `view` checks the finished screen once more.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::domain::text::printable;
use crate::domain::time::Timestamp;

/// The characters that are drawn besides text; ASCII where the terminal or its font has no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyphs {
    /// Where something was cut.
    pub cut: char,
    /// A horizontal rule.
    pub rule: char,
    /// A vertical one.
    pub bar: char,
    /// Corners of a dialog, clockwise from the top left.
    pub corners: [char; 4],
    /// Nothing up to full, for small charts.
    pub ramp: [char; 9],
}

impl Glyphs {
    /// For terminals that show UTF-8. No emoji, nothing of ambiguous width.
    pub const UNICODE: Self = Self {
        cut: '…',
        rule: '─',
        bar: '│',
        corners: ['┌', '┐', '┘', '└'],
        ramp: [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    };
    /// For all others.
    pub const ASCII: Self = Self {
        cut: '~',
        rule: '-',
        bar: '|',
        corners: ['+', '+', '+', '+'],
        ramp: [' ', '.', ':', '-', '=', '+', '*', '#', '#'],
    };
}

/// Text from outside, made safe to show: one line, nothing that steers a terminal or misleads the eye.
#[must_use]
pub fn safe(text: &str) -> Cow<'_, str> {
    printable(text)
}

/// Columns that a text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// A safe text in at most `columns`, cut at its end.
#[must_use]
pub fn fit<'a>(text: &'a str, columns: usize, glyphs: &Glyphs) -> Cow<'a, str> {
    let text = safe(text);
    if width(&text) <= columns {
        return text;
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    let mut cut = head(&text, columns - 1).to_owned();
    cut.push(glyphs.cut);
    Cow::Owned(cut)
}

/// A safe text in at most `columns`, cut in its middle: for what differs at its end, such as URLs.
#[must_use]
pub fn fit_middle<'a>(text: &'a str, columns: usize, glyphs: &Glyphs) -> Cow<'a, str> {
    let text = safe(text);
    if width(&text) <= columns {
        return text;
    }
    if columns < 5 {
        return Cow::Owned(fit(&text, columns, glyphs).into_owned());
    }
    let behind = (columns - 1) / 3;
    let ahead = head(&text, columns - 1 - behind);
    Cow::Owned(format!("{ahead}{}{}", glyphs.cut, tail(&text, behind)))
}

/// A text in exactly `columns`.
#[must_use]
pub fn padded(text: &str, columns: usize, right: bool) -> String {
    let blank = " ".repeat(columns.saturating_sub(width(text)));
    if right { format!("{blank}{text}") } else { format!("{text}{blank}") }
}

fn head(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, character) in text.char_indices() {
        taken += character.width().unwrap_or(0);
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

fn tail(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, character) in text.char_indices().rev() {
        taken += character.width().unwrap_or(0);
        if taken > columns {
            return &text[at + character.len_utf8()..];
        }
    }
    text
}

/// A safe text over several lines of at most `columns`, broken at blanks where that is possible.
#[must_use]
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in safe(paragraph).split(' ') {
            let mut word = word;
            let gap = usize::from(!line.is_empty());
            if width(&line) + gap + width(word) > columns && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            while width(word) > columns {
                let part = head(word, columns);
                // A character wider than the line has to go somewhere.
                let part = if part.is_empty() { &word[..word.chars().next().map_or(0, char::len_utf8)] } else { part };
                lines.push(part.to_owned());
                word = &word[part.len()..];
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// A URL without `https://`, which is what goes without saying; `http://` stays.
#[must_use]
pub fn short_url(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url)
}

/// An instant as the daemon writes it.
#[must_use]
pub fn instant(text: &str) -> Option<Timestamp> {
    let parsed: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(parsed.as_millisecond()).ok().map(Timestamp::from_millis)
}

/// How much of an instant is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// `14:32:05`
    Time,
    /// `14:32:05.433`
    Millis,
    /// `11-02 14:32:05`
    MonthDay,
    /// `2026-11-02 14:32:05`
    Full,
    /// `2026-11-02`
    Date,
    /// `14:32`
    Minute,
}

/// An instant in a time zone.
#[must_use]
pub fn shown(at: Timestamp, zone: &TimeZone, how: Shown) -> String {
    let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
    let Ok(at) = jiff::Timestamp::from_millisecond(millis) else { return "-".to_owned() };
    let format = match how {
        Shown::Time => "%H:%M:%S",
        Shown::Millis => "%H:%M:%S%.3f",
        Shown::MonthDay => "%m-%d %H:%M:%S",
        Shown::Full => "%Y-%m-%d %H:%M:%S",
        Shown::Date => "%Y-%m-%d",
        Shown::Minute => "%H:%M",
    };
    at.to_zoned(zone.clone()).strftime(format).to_string()
}

/// The same for an instant as the daemon writes it; `-` for none.
#[must_use]
pub fn shown_text(text: Option<&str>, zone: &TimeZone, how: Shown) -> String {
    text.and_then(instant).map_or_else(|| "-".to_owned(), |at| shown(at, zone, how))
}

/// `UTC`, or the name of the local zone.
#[must_use]
pub fn zone_name(at: Timestamp, zone: &TimeZone) -> String {
    let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
    let Ok(at) = jiff::Timestamp::from_millisecond(millis) else { return "UTC".to_owned() };
    at.to_zoned(zone.clone()).strftime("%Z").to_string()
}

/// A stretch of time in its largest unit: `84s`, `41m`, `5h`, `12d`.
#[must_use]
pub fn span(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A stretch of time to the second: `00:41:12`, `3d 04:05:06`.
#[must_use]
pub fn long_span(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    if days == 0 { clock } else { format!("{days}d {clock}") }
}

/// A duration in words: `90 s`, `10 min 30 s`, `2 h`, `3 days`.
#[must_use]
pub fn words(seconds: u64) -> String {
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    if seconds <= 120 {
        return format!("{seconds} s");
    }
    let told: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).take(2).map(|(count, unit)| format!("{count} {unit}")).collect();
    told.join(" ")
}

/// A measured duration: `405ms`, `1.9s`, `12s`.
#[must_use]
pub fn took(millis: f64) -> String {
    if millis < 0.95 {
        "<1ms".to_owned()
    } else if millis < 999.5 {
        format!("{millis:.0}ms")
    } else if millis < 9_950.0 {
        format!("{:.1}s", millis / 1000.0)
    } else {
        format!("{:.0}s", millis / 1000.0)
    }
}

/// A count with separators: `4,771`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Bytes in binary units: `1,204 B`, `38 MiB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 10 * 1024 {
        return format!("{} B", count(number));
    }
    let (mut amount, mut unit) = (number / 1024, 0);
    while amount >= 10 * 1024 && unit + 1 < UNITS.len() {
        amount /= 1024;
        unit += 1;
    }
    format!("{} {}", count(amount), UNITS[unit])
}

/// `1 delivery`, `3 deliveries`.
#[must_use]
pub fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_cut_says_so_and_keeps_its_width() {
        let glyphs = Glyphs::UNICODE;
        assert_eq!(fit("orders-prod", 11, &glyphs), "orders-prod");
        assert_eq!(fit("orders-prod", 6, &glyphs), "order…");
        assert_eq!(fit_middle("erp.example.com/hooks/orders", 16, &glyphs), "erp.exampl…rders");
        assert_eq!(fit("日本語", 4, &Glyphs::ASCII), "日~");
        assert_eq!(fit("a\u{1b}[2Jb", 40, &glyphs), "a\\u{1b}[2Jb");
    }

    #[test]
    fn times_and_amounts_read_well() {
        let at = instant("2026-11-02T14:32:05.433Z").unwrap();
        assert_eq!(shown(at, &TimeZone::UTC, Shown::MonthDay), "11-02 14:32:05");
        assert_eq!(shown(at, &TimeZone::UTC, Shown::Millis), "14:32:05.433");
        assert_eq!(zone_name(at, &TimeZone::UTC), "UTC");
        assert_eq!(shown_text(None, &TimeZone::UTC, Shown::Full), "-");
        assert_eq!([span(84), span(2_460), span(90_000), span(1_036_800)], ["84s", "41m", "25h", "12d"]);
        assert_eq!([long_span(2_472), long_span(262_800)], ["00:41:12", "3d 01:00:00"]);
        assert_eq!([words(90), words(630), words(7_200), words(100_000)], ["90 s", "10 min 30 s", "2 h", "1 d 3 h"]);
        assert_eq!([took(0.2), took(405.2), took(1_900.0), took(10_001.0)], ["<1ms", "405ms", "1.9s", "10s"]);
        assert_eq!([count(0), count(999), count(4_771), count(1_234_567)], ["0", "999", "4,771", "1,234,567"]);
        assert_eq!([bytes(1_204), bytes(39_845_888)], ["1,204 B", "38 MiB"]);
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_asked(text in ".{0,60}", columns in 0usize..40) {
            for glyphs in [Glyphs::UNICODE, Glyphs::ASCII] {
                prop_assert!(width(&fit(&text, columns, &glyphs)) <= columns);
                prop_assert!(width(&fit_middle(&text, columns, &glyphs)) <= columns);
            }
            if columns > 1 {
                for line in wrapped(&text, columns) {
                    prop_assert!(width(&line) <= columns, "{line:?}");
                }
            }
        }
    }
}
