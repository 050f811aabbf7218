//! Lines of comma-separated values (RFC 4180) that a spreadsheet can open without running them.
//!
//! It knows no columns. Its invariant: no text becomes a formula, whatever it holds, and numbers
//! stay numbers; text with control or invisible characters shows them by number, as elsewhere.

use std::borrow::Cow;

use crate::domain::text::printable;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A text, whoever wrote it.
    Text(String),
    /// A number, which stays one.
    Number(u64),
    /// An empty cell.
    Nothing,
}

impl<T: AsRef<str>> From<T> for Field {
    fn from(text: T) -> Self {
        Self::Text(text.as_ref().to_owned())
    }
}

/// A text that may not be there.
#[must_use]
pub fn optional(text: Option<&String>) -> Field {
    text.map_or(Field::Nothing, Field::from)
}

/// A line with its line end.
#[must_use]
pub fn line(fields: &[Field]) -> String {
    let fields: Vec<String> = fields.iter().map(shown).collect();
    fields.join(",") + "\r\n"
}

fn shown(field: &Field) -> String {
    let text = match field {
        Field::Number(number) => return number.to_string(),
        Field::Nothing => return String::new(),
        Field::Text(text) => text_only(text),
    };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// A text as it is shown, with an apostrophe before what a spreadsheet would take for a formula.
fn text_only(text: &str) -> String {
    let shown: Cow<'_, str> = printable(text);
    // Where a comma is a decimal point, a semicolon begins the next cell, quotes or not.
    let mut cells = shown.split(';');
    let first = cells.next().unwrap_or_default();
    let steers = text.starts_with(['\t', '\r', '\n']);
    let mut safe = String::with_capacity(shown.len() + 1);
    if steers || is_formula(first) {
        safe.push('\'');
    }
    safe.push_str(first);
    for cell in cells {
        safe.push_str(if is_formula(cell) { ";'" } else { ";" });
        safe.push_str(cell);
    }
    safe
}

/// Whether a spreadsheet may run what stands in a cell of its own.
fn is_formula(cell: &str) -> bool {
    // Some programs drop leading blanks and quotes before they look.
    let first = cell.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).chars().next();
    // The wide forms count as the narrow ones in East Asian settings.
    matches!(first, Some('=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::text::misleads;

    #[test]
    fn formulas_are_only_text() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("  =1", "'  =1"),
            ("\"=1\"", "\"'\"\"=1\"\"\""),
            ("'=1", "''=1"),
            ("\t=1", "'\\u{9}=1"),
            ("\rx", "'\\u{d}x"),
            ("\u{a0}=1", "'\u{a0}=1"),
            ("＝1", "'＝1"),
            ("a=1", "a=1"),
            ("a;=1", "a;'=1"),
            ("x; \"=1\";;-2;b", "\"x;' \"\"=1\"\";;'-2;b\""),
            ("=1;=2", "'=1;'=2"),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("a\u{202e}\n", "a\\u{202e}\\u{a}"),
            ("", ""),
        ] {
            assert_eq!(shown(&text.into()), expected, "{text:?}");
        }
        assert_eq!(line(&["a".into(), Field::Number(5), Field::Nothing]), "a,5,\r\n");
    }

    fn fields() -> impl Strategy<Value = Vec<Field>> {
        let text = prop_oneof![any::<String>(), "[ \t\"'=+@,;\r\n-]{0,6}.{0,6}"];
        let field = prop_oneof![text.prop_map(Field::Text), any::<u64>().prop_map(Field::Number), Just(Field::Nothing)];
        proptest::collection::vec(field, 2..6)
    }

    proptest! {
        #[test]
        fn a_reader_gets_the_same_fields_and_nothing_to_run(fields in fields()) {
            let line = line(&fields);
            prop_assert!(!line.trim_end_matches("\r\n").contains(misleads));
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
            let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(records.len(), 1);
            let expected: Vec<String> = fields.iter().map(|field| match field {
                Field::Text(text) => text_only(text),
                Field::Number(number) => number.to_string(),
                Field::Nothing => String::new(),
            }).collect();
            prop_assert_eq!(records[0].iter().collect::<Vec<_>>(), expected);
            for (read, field) in records[0].iter().zip(&fields) {
                for cell in read.split(';') {
                    prop_assert!(!cell.trim_start().starts_with(['=', '+', '-', '@']), "{:?}", read);
                }
                if let Field::Text(text) = field {
                    // Nothing but apostrophes was added.
                    let without = |text: &str| text.replace('\'', "");
                    prop_assert_eq!(without(read), without(&printable(text)));
                }
            }
        }
    }
}
