//! The folder of sled's database: opened, and moved out of the way when it is no good.
//!
//! It is not known here what is in it. Nothing is repaired: a snapshot that was never finished is no part of the database.

use std::path::{Path, PathBuf};

use super::{Result, pause_a_moment};
use crate::domain::time::Timestamp;

/// sled's threads let go of its files a moment after it was dropped, and later on a busy machine. Nobody else has them: the daemon
/// holds the lock of its directory.
const MOMENTS_LOCKED_MAX: u32 = 5_000;

/// The database in a folder, which is made if it is not there.
pub(super) fn opened(directory: &Path, cache_bytes: u64) -> Result<sled::Db> {
    let config = sled::Config::new().path(directory).cache_capacity(cache_bytes);
    let config = config.mode(sled::Mode::HighThroughput).flush_every_ms(Some(500));
    for _ in 0..MOMENTS_LOCKED_MAX {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => pause_a_moment(),
            opened => return Ok(opened?),
        }
    }
    Ok(config.open()?)
}

/// A snapshot that was being written when the disk filled up makes every later open fail, though
/// the log beside it has everything.
pub(super) fn remove_unfinished_snapshots(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let unfinished = name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating"));
        if unfinished && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "an unfinished index snapshot stays");
        }
    }
}

/// Moves an index that is no good out of the way, and tells where to. The last two are kept for
/// whoever wants to know what happened.
///
/// # Errors
/// When the system does not let it.
pub fn move_aside(directory: &Path, now: Timestamp) -> std::io::Result<PathBuf> {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or("index");
    let parent = directory.parent().unwrap_or_else(|| Path::new("."));
    let prefix = format!("{name}.damaged-");
    let mut earlier: Vec<PathBuf> = std::fs::read_dir(parent)?
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)))
        .map(|entry| entry.path())
        .collect();
    earlier.sort();
    while earlier.len() > 1 {
        std::fs::remove_dir_all(earlier.remove(0))?;
    }
    let target = parent.join(format!("{prefix}{}", now.to_string().replace(':', "")));
    std::fs::rename(directory, &target)?;
    Ok(target)
}
