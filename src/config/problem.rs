//! One thing that is wrong, or risky, in a configuration file, and where.
//!
//! It only describes; it decides neither what is wrong nor whether the daemon may start.
//!
//! Invariant: shown as text it is one line without control characters, and it never holds the
//! password of a URL.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::domain::text::printable;

/// A position in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named to us.
    pub file: Arc<Path>,
    /// Line from 1; 0 when the file as a whole is meant.
    pub line: u32,
    /// Column from 1, counted in characters; 0 when the file as a whole is meant.
    pub column: u32,
}

impl fmt::Display for Place {
    /// `FILE:LINE:COLUMN`, or just `FILE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.file.to_string_lossy()))?;
        if self.line > 0 { write!(f, ":{}:{}", self.line, self.column) } else { Ok(()) }
    }
}

/// What is wrong, without where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, in a few words without a full stop.
    pub text: String,
    /// What stands in the file, when that helps.
    pub found: Option<String>,
    /// What may stand there.
    pub allowed: Option<String>,
    /// The known name that was probably meant.
    pub nearest: Option<String>,
}

impl Fault {
    /// A fault that needs no further explanation.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// A fault and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// The key as `section.key`, or the section, or empty when neither is known.
    pub key: String,
    /// What it is.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    /// `FILE:LINE:COLUMN: KEY: what; found …; allowed: …; did you mean "…"?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", printable(&clipped(&self.key)))?;
        }
        write!(f, "{}", printable(&self.fault.text))?;
        if let Some(found) = &self.fault.found {
            write!(f, "; found {}", printable(found))?;
        }
        if let Some(allowed) = &self.fault.allowed {
            write!(f, "; allowed: {}", printable(allowed))?;
        }
        if let Some(nearest) = &self.fault.nearest {
            write!(f, "; did you mean \"{}\"?", printable(nearest))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// The text, cut to a length that fits a line of a terminal.
pub(super) fn clipped(text: &str) -> String {
    const CHARACTERS: usize = 60;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
