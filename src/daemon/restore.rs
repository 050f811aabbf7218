//! `postrider restore`: makes a state directory from a backup, before any daemon has used it.
//!
//! It overwrites nothing: a directory that holds a store, or that a daemon uses, is refused. A journal gets the name that a
//! daemon looks for only when it is whole and durable, so that a restore that was cut short is no store.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::state_dir::{StateDir, StateDirError};
use super::{ServeError, ServeFlags};
use crate::backup::{BackupError, Unpacked, unpack};
use crate::config::Config;
use crate::config::paths::{self, Environment};

const UNFINISHED: &str = "restoring";

/// Restores an archive (`-` is standard input) into the state directory that `serve` would use.
///
/// Gives the state directory, what was in the archive, and as `missing_key` where the master key that sealed its
/// secrets has to be before the first start, when it is not there.
///
/// # Errors
/// Why nothing was restored; the state directory then holds no store, as before. Only when the very last file can not be
/// written is everything there, and a daemon will take it.
pub fn restore(file: &Path, flags: &ServeFlags, environment: Environment<'_>) -> Result<Value, ServeError> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let config_file = paths::config_file(flags.config.as_deref(), environment, &|path| path.exists());
    let config = Config::load(config_file.map(|located| located.path).as_deref()).map_err(ServeError::Config)?;
    let is_root = rustix::process::geteuid().is_root();
    let located = paths::state_dir(flags.state_dir.as_deref(), environment, &config, is_root)
        .map_err(|error| ServeError::Unusable(error.to_string()))?;
    let archive: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file).map_err(|error| ServeError::NoInput(format!("{}: {error}", file.display())))?)
    };
    let state_dir = StateDir::prepare(&located.path)?;
    let directory = state_dir.path().to_owned();
    for name in ["FORMAT", "journal"] {
        if directory.join(name).symlink_metadata().is_ok() {
            let what = "holds a store already; move it away, or name another place with --state-dir";
            return Err(ServeError::Occupied(format!("{} {what}", directory.display())));
        }
    }
    let unfinished = directory.join(UNFINISHED);
    let result = fill(&directory, &unfinished, archive);
    // Whatever came of it, nothing in there is of use any more.
    let _ = std::fs::remove_dir_all(&unfinished);
    let unpacked = result.map_err(|wrong| match wrong {
        BackupError::Io { path, error } => ServeError::from(StateDirError::Io { path, error }),
        error => ServeError::BadData(format!("{}: {error}", file.display())),
    })?;
    state_dir.note_format()?;
    let missing_key = super::key_file(&config, &state_dir, environment).filter(|path| !path.exists());
    let Unpacked { about, records, damaged, bytes, mail } = unpacked;
    Ok(json!({
        "v": 1, "state_dir": directory, "taken_at_ms": about.taken_at_ms, "position": about.position, "segments": about.segments,
        "records": records, "damaged": damaged, "bytes": bytes, "mail": mail, "missing_key": missing_key,
    }))
}

fn fill(directory: &Path, unfinished: &Path, archive: Box<dyn Read>) -> Result<Unpacked, BackupError> {
    let place = |path: &Path| {
        let path = path.to_owned();
        move |error| BackupError::Io { path, error }
    };
    match std::fs::remove_dir_all(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(place(unfinished)(error)),
        _ => std::fs::create_dir(unfinished).map_err(place(unfinished))?,
    }
    let unpacked = unpack(io::BufReader::with_capacity(256 << 10, archive), unfinished)?;
    // An index of another store would be taken for a view of this one.
    for name in ["index", "index.session", "mail.json"] {
        let path = directory.join(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(place(&path)(error)),
            _ => {}
        }
    }
    for name in ["mail.json", "journal"] {
        let from = unfinished.join(name);
        if from.exists() {
            std::fs::rename(&from, directory.join(name)).map_err(place(&from))?;
        }
    }
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(place(directory))?;
    Ok(unpacked)
}
