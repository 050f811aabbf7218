//! Whether files and folders can be trusted: nobody but the daemon's own user (and root) may have made or changed them.
//!
//! It mends nothing: what somebody may have prepared is refused, with its path and what to do. What it lets through is not
//! safe against root, or against the daemon's own user.
//!
//! Invariant: nothing is opened here, so that a pipe or a device put in the place of a file is never waited for.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::StateDirError;

/// The files of a state directory; each may be absent. `index.session` and `mail.json` hold ids and addresses.
const FILES: [&str; 6] = ["FORMAT", "lock", "master.key", "ingest.token", "mail.json", "index.session"];

fn untrusted(path: &Path, detail: String) -> StateDirError {
    StateDirError::Untrusted { path: path.to_owned(), detail }
}

fn look(path: &Path) -> Result<Metadata, StateDirError> {
    path.symlink_metadata().map_err(|error| StateDirError::Io { path: path.to_owned(), error })
}

/// Refuses a state directory, or anything in it, that is not ours, that others can write to, or that is a link.
pub(super) fn check_state(directory: &Path) -> Result<(), StateDirError> {
    check_tree(directory, 0)?;
    for name in FILES {
        let path = directory.join(name);
        if path.symlink_metadata().is_ok() {
            // The token is for its group to read, and so may the key be that somebody put there.
            check_file(&path, if matches!(name, "ingest.token" | "master.key") { 0o037 } else { 0o077 })?;
        }
    }
    for name in ["journal", "index"] {
        let path = directory.join(name);
        if path.symlink_metadata().is_ok() {
            check_tree(&path, 3)?;
        }
    }
    Ok(())
}

/// A folder, and what is in it down to `depth` folders more.
fn check_tree(folder: &Path, depth: u32) -> Result<(), StateDirError> {
    let metadata = look(folder)?;
    check_owner(folder, &metadata)?;
    if !metadata.is_dir() {
        return Err(untrusted(folder, "is not a directory".to_owned()));
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(untrusted(folder, format!("others can write to it (mode {mode:o}); chmod go-w it")));
    }
    if depth == 0 {
        return Ok(());
    }
    let io = |error| StateDirError::Io { path: folder.to_owned(), error };
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            check_tree(&entry.path(), depth - 1)?;
        } else {
            check_file(&entry.path(), 0o077)?;
        }
    }
    Ok(())
}

/// A plain file of ours with no other name and none of these permission bits.
fn check_file(path: &Path, closed: u32) -> Result<(), StateDirError> {
    let metadata = look(path)?;
    check_owner(path, &metadata)?;
    if !metadata.is_file() {
        return Err(untrusted(path, "is not a plain file".to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & closed != 0 {
        return Err(untrusted(path, format!("is open to others (mode {mode:o}); chmod {:o} it", mode & !closed)));
    }
    if metadata.nlink() > 1 {
        return Err(untrusted(path, "has a second name (a hard link); put a copy in its place".to_owned()));
    }
    Ok(())
}

/// Refuses links, and what does not belong to the user the daemon runs as.
fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), StateDirError> {
    if metadata.file_type().is_symlink() {
        return Err(untrusted(path, "is a symbolic link; name the place itself".to_owned()));
    }
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        let owner = metadata.uid();
        return Err(untrusted(path, format!("belongs to user {owner}, and postrider runs as {own}; chown it")));
    }
    Ok(())
}

/// Refuses a path when somebody else could put another file or folder in its place.
///
/// A folder that everybody may write to is fine with the sticky bit (`/tmp`), and so is one of the daemon's own group.
pub(super) fn check_parents(path: &Path) -> Result<(), StateDirError> {
    let whole = std::path::absolute(path).map_err(|error| StateDirError::Io { path: path.to_owned(), error })?;
    // The folders as they are, and not as links call them: a link lies in one of those that are looked at.
    let parent = whole.parent().unwrap_or(&whole);
    let parent = parent.canonicalize().map_err(|error| StateDirError::Io { path: parent.to_owned(), error })?;
    let (own, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for folder in parent.ancestors() {
        let metadata = look(folder)?;
        if metadata.uid() != own && metadata.uid() != 0 {
            let owner = metadata.uid();
            let detail = format!("belongs to user {owner}, who can exchange what is in it; use another place");
            return Err(untrusted(folder, detail));
        }
        let by_group = metadata.mode() & 0o020 != 0 && metadata.gid() != group && metadata.gid() != 0;
        let sticky = metadata.mode() & 0o1000 != 0;
        if !sticky && (by_group || metadata.mode() & 0o002 != 0) {
            let mode = metadata.mode() & 0o7777;
            let detail =
                format!("others can exchange what is in it (mode {mode:o}); chmod go-w it, or use another place");
            return Err(untrusted(folder, detail));
        }
    }
    Ok(())
}

/// Refuses a configuration file that others may have written, or one with a password in it that everybody may read.
pub(super) fn check_configuration(file: &Path, holds_secrets: bool) -> Result<(), StateDirError> {
    // Links are usual here; what counts is where they lead.
    let metadata = file.metadata().map_err(|error| StateDirError::Io { path: file.to_owned(), error })?;
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own && metadata.uid() != 0 {
        let owner = metadata.uid();
        return Err(untrusted(file, format!("belongs to user {owner}, and postrider runs as {own}; chown it to root")));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o002 != 0 {
        return Err(untrusted(file, format!("everybody can write to it (mode {mode:o}); chmod o-w it")));
    }
    if holds_secrets && mode & 0o004 != 0 {
        let detail = format!("holds a password (egress.proxy) and everybody can read it (mode {mode:o}); chmod o-r it");
        return Err(untrusted(file, detail));
    }
    Ok(())
}
