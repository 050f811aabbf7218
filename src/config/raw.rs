//! Configuration files as written: which key has which value, and where that stands.
//!
//! This reads the text of one file after the other and lays them over each other, checking
//! every value by itself. It does not open files and does not know rules that join two keys.
//!
//! Invariant: reading never stops at the first fault, and a key whose value is faulty counts as
//! not written, so later checks do not report the same mistake twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Fault, Place, Problem};
use super::schema::{self, Key, Kind};
use super::url::masked;
use super::value::{self, Value};

/// A section and a key of the schema.
type Name = (&'static str, &'static str);

/// What all files together say.
#[derive(Debug, Default)]
pub(super) struct Raw {
    written: BTreeMap<Name, Written>,
    faulty: BTreeSet<Name>,
}

/// One value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) value: Value,
    /// Where the value begins.
    pub(super) place: Place,
    /// The value as TOML text, without passwords.
    pub(super) text: String,
}

impl Raw {
    /// Lays one file over what was read before and returns what is wrong in it.
    ///
    /// `base` is the folder that relative paths count from.
    pub(super) fn read(&mut self, file: &Path, base: &Path, text: &str) -> Vec<Problem> {
        let source = Source { file: Arc::from(file), text };
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut problems = syntax_problems(&source, &errors);
        // After another syntax error the parser only guesses what the rest means.
        if errors.iter().all(|error| error.message() == DUPLICATE) {
            let mut reader = Reader { source: &source, base, raw: self, problems: &mut problems };
            reader.document(document.get_ref());
        }
        problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
        problems
    }

    /// What is written for a key, if anything valid is.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<&Written> {
        self.written.iter().find(|(name, _)| **name == (section, key)).map(|(_, written)| written)
    }

    /// Whether some file has a value for this key that is not allowed.
    pub(super) fn is_faulty(&self, section: &str, key: &str) -> bool {
        self.faulty.iter().any(|name| *name == (section, key))
    }
}

/// What the parser says about a key or section that is there twice.
const DUPLICATE: &str = "duplicate key";

/// One problem a line: a parser that has lost its way complains about every word of it.
fn syntax_problems(source: &Source<'_>, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut lines = BTreeSet::new();
    let mut problems = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or_default();
        let place = source.place(span.start);
        if !lines.insert(place.line) {
            continue;
        }
        let duplicate = error.message() == DUPLICATE;
        let key = if duplicate { source.slice(&span).to_owned() } else { String::new() };
        let text = if duplicate {
            "written twice in this file".to_owned()
        } else {
            format!("not valid TOML: {}", error.message())
        };
        problems.push(Problem { place, key, fault: Fault::new(text) });
    }
    problems
}

/// The text of a file, for turning byte offsets into lines and columns.
struct Source<'t> {
    file: Arc<Path>,
    text: &'t str,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let (lines, last) =
            before.rsplit_once('\n').map_or((0, before), |(lines, last)| (lines.matches('\n').count() + 1, last));
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
        Place { file: Arc::clone(&self.file), line: number(lines), column: number(last.chars().count()) }
    }

    fn slice(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }
}

struct Reader<'a> {
    source: &'a Source<'a>,
    base: &'a Path,
    raw: &'a mut Raw,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn document(&mut self, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let written: &str = name.get_ref();
            if let Some(section) = schema::section(written).filter(|section| !section.name.is_empty()) {
                match value.get_ref() {
                    DeValue::Table(keys) => self.section(section.name, keys),
                    _ => self.not_a_section(name.span(), section.name, value.get_ref()),
                }
            } else if let Some(key) = schema::find("", written) {
                self.value("", key, value);
            } else {
                self.unknown_name(name, value.get_ref());
            }
        }
    }

    fn section(&mut self, section: &'static str, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let written: &str = name.get_ref();
            match schema::find(section, written) {
                Some(key) => self.value(section, key, value),
                None => {
                    let nearest = schema::nearest_key(section, written);
                    let fault = Fault { nearest, ..Fault::new("unknown key") };
                    self.problem(name.span(), schema::dotted(section, written), fault);
                }
            }
        }
    }

    fn not_a_section(&mut self, span: Range<usize>, section: &'static str, value: &DeValue<'_>) {
        let found = if value.is_array() { format!("[[{section}]]") } else { "a single value".to_owned() };
        let fault =
            Fault { found: Some(found), allowed: Some(format!("[{section}]")), ..Fault::new("this is a section") };
        self.problem(span, section.to_owned(), fault);
    }

    fn unknown_name(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, value: &DeValue<'_>) {
        let written: &str = name.get_ref();
        let is_section = value.is_table() || value.is_array();
        let fault = if is_section {
            let sections = schema::SECTIONS.iter().map(|section| section.name).filter(|name| !name.is_empty());
            Fault {
                nearest: schema::nearest_section(written).map(str::to_owned),
                allowed: Some(sections.collect::<Vec<_>>().join(", ")),
                ..Fault::new("unknown section")
            }
        } else {
            Fault { nearest: schema::nearest_key("", written), ..Fault::new("unknown key") }
        };
        self.problem(name.span(), written.to_owned(), fault);
    }

    fn value(&mut self, section: &'static str, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        match value::check(key.kind, value, self.base) {
            Ok(checked) => {
                let place = self.source.place(value.span().start);
                let text = shown(key.kind, self.source.slice(&value.span()), value.get_ref());
                self.raw.written.insert((section, key.name), Written { value: checked, place, text });
            }
            Err(faults) => {
                self.raw.faulty.insert((section, key.name));
                for (span, fault) in faults {
                    self.problem(span, schema::dotted(section, key.name), fault);
                }
            }
        }
    }

    fn problem(&mut self, span: Range<usize>, key: String, fault: Fault) {
        self.problems.push(Problem { place: self.source.place(span.start), key, fault });
    }
}

/// The value as TOML text. URLs are made from the decoded text: an escaped `@` is an `@` too.
fn shown(kind: Kind, text: &str, value: &DeValue<'_>) -> String {
    match (kind, value) {
        (Kind::SmtpUrl | Kind::BaseUrl, DeValue::String(url)) => format!("\"{}\"", masked(url)),
        _ => text.to_owned(),
    }
}
