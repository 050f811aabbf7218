//! The configuration: files in, one checked and typed [`Config`] out.
//!
//! ```text
//! postrider.toml, conf.d/*.toml ──raw──▶ values with places ──mod──▶ Config ──checks──▶ problems, warnings
//!                                  ▲ schema: every key, kind, default, meaning
//! ```
//!
//! It reads the files it is told to and nothing else: not the environment, not the files that
//! keys point to, not the network. Where the file, the state directory and the socket are is
//! decided in [`paths`]. Webhooks are no part of it; they live in the store.
//!
//! Invariant: a `Config` that exists obeys the whole schema and every rule between keys, and
//! with faulty files all problems are reported at once, in the order of the files and lines.

mod build;
mod checks;
mod model;
mod nearest;
pub mod paths;
mod problem;
mod raw;
pub mod schema;
#[cfg(test)]
mod tests;
mod url;
mod value;

use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

use self::build::build;
pub use self::model::{
    Admin, Auth, Config, Delivery, Egress, Email, Ingest, Log, LogFormat, LogLevel, Metrics, Retention, SchemaCheck,
    Secrets, Setting, Signature, SmtpServer, StartTls, Tls, Tracing, UnknownTypes,
};
pub use self::problem::{Fault, Place, Problem};
use self::raw::Raw;
pub use self::url::BaseUrl;

impl Default for Config {
    /// No file at all: every default, and loopback receivers allowed.
    fn default() -> Self {
        let mut config = build(&Raw::default());
        config.built_in_trial = true;
        config.egress.allow = vec![
            IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8),
            IpNet::new_assert(IpAddr::from(std::net::Ipv6Addr::LOCALHOST), 128),
        ];
        for setting in config.settings.iter_mut().filter(|setting| setting.key == "egress.allow") {
            setting.value = "[\"127.0.0.0/8\", \"::1/128\"]".to_owned();
        }
        config
    }
}

impl Config {
    /// Reads the file and `conf.d/*.toml` beside it; `None` is no file at all.
    ///
    /// # Errors
    ///
    /// Every problem of every file: unreadable, not UTF-8, not TOML, unknown names, values that
    /// are not allowed and rules between keys. Never an empty list.
    pub fn load(path: Option<&Path>) -> Result<Self, Vec<Problem>> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let mut problems = Vec::new();
        let mut texts = Vec::new();
        let overlays = overlays(path).unwrap_or_else(|more| {
            problems.extend(more);
            Vec::new()
        });
        for file in std::iter::once(path.to_owned()).chain(overlays) {
            match read(&file) {
                Ok(text) => texts.push((file, text)),
                Err(more) => problems.extend(more),
            }
        }
        let config = Self::from_texts(&texts);
        match config {
            Ok(config) if problems.is_empty() => Ok(config),
            Ok(_) => Err(problems),
            Err(more) => {
                problems.extend(more);
                Err(problems)
            }
        }
    }

    /// Makes a configuration from files that were read already, later ones over earlier ones.
    ///
    /// # Errors
    ///
    /// As [`Config::load`], apart from reading.
    pub fn from_texts(texts: &[(PathBuf, String)]) -> Result<Self, Vec<Problem>> {
        let mut raw = Raw::default();
        let mut problems = Vec::new();
        for (file, text) in texts {
            problems.extend(raw.read(file, file.parent().unwrap_or(Path::new("")), text));
        }
        let mut config = build(&raw);
        problems.extend(checks::contradictions(&config, &raw));
        if problems.is_empty() {
            config.warnings = checks::warnings(&config, &raw);
            config.files = texts.iter().map(|(file, _)| file.clone()).collect();
            return Ok(config);
        }
        let order = |problem: &Problem| texts.iter().position(|(file, _)| **file == *problem.place.file);
        problems.sort_by_key(|problem| (order(problem), problem.place.line, problem.place.column));
        Err(problems)
    }
}

/// The files `conf.d/*.toml` beside the main file, in the order of their names.
fn overlays(path: &Path) -> Result<Vec<PathBuf>, Vec<Problem>> {
    let folder = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unreadable(&folder, &format!("cannot be read: {error}"))),
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| unreadable(&folder, &format!("cannot be read: {error}")))?.path();
        // Editors and package managers leave hidden files behind.
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<String, Vec<Problem>> {
    const BYTES_MAX: u64 = 1 << 20;
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).and_then(|opened| opened.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    opened.map_err(|error| unreadable(file, &format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(unreadable(file, "larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        unreadable(file, &format!("line {line} is not UTF-8 text"))
    })
}

/// The one problem of a file that cannot be used at all.
fn unreadable(file: &Path, text: &str) -> Vec<Problem> {
    let place = Place { file: Arc::from(file), line: 0, column: 0 };
    vec![Problem { place, key: String::new(), fault: Fault::new(text) }]
}
