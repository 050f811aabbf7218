//! The state directory: ours alone, of a format we know, and used by one daemon at a time.
//!
//! Nothing is mended here that somebody else may have broken on purpose: a directory that others
//! can write to, or that is a link, is refused with its path.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{ServeError, trust};

/// What is in the file `FORMAT` of a state directory that this version can use.
const FORMAT: &str = "postrider store 1\n";

/// Why a state directory can not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It can not be made or read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Others could have changed it.
    #[error("{}: {detail}", path.display())]
    Untrusted {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what to do.
        detail: String,
    },
    /// A version that does not exist yet has written it.
    #[error("{}: written by another version of postrider ({found:?}); use that version, or a newer one", path.display())]
    Format {
        /// The format file.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// There is a journal that nobody says the format of: half a restore, or half a copy.
    #[error("{} is missing beside a journal; restore the backup once more into an empty directory, or copy all of the store", path.display())]
    NoFormat {
        /// The format file.
        path: PathBuf,
    },
    /// Another daemon uses it.
    #[error("{} is in use by another postrider{}", path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process id, when known.
        pid: Option<u32>,
    },
}

impl From<StateDirError> for ServeError {
    fn from(error: StateDirError) -> Self {
        match &error {
            StateDirError::InUse { .. } => Self::InUse(error.to_string()),
            StateDirError::Io { error: io, .. } if io.kind() == std::io::ErrorKind::PermissionDenied => {
                Self::NotPermitted(error.to_string())
            }
            StateDirError::Io { .. } => Self::Io(error.to_string()),
            StateDirError::Untrusted { .. } | StateDirError::Format { .. } | StateDirError::NoFormat { .. } => {
                Self::Unusable(error.to_string())
            }
        }
    }
}

/// A state directory that is ours while this lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Locked; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

impl StateDir {
    /// Makes the directory if need be, checks it, and locks it.
    ///
    /// # Errors
    /// See [`StateDirError`].
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let prepared = Self::prepare(path)?;
        check_format(&prepared.path)?;
        Ok(prepared)
    }

    /// [`Self::open`] without a look at whether it is a store.
    pub(super) fn prepare(path: &Path) -> Result<Self, StateDirError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| StateDirError::Io { path, error }
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io(parent))?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(path)(error)),
            _ => {}
        }
        trust::check_state(path)?;
        trust::check_parents(path)?;
        let lock = lock(path)?;
        let path = path.canonicalize().map_err(io(path))?;
        Ok(Self { path, _lock: lock })
    }

    /// Says which format it is of.
    pub(super) fn note_format(&self) -> Result<(), StateDirError> {
        write_format(&self.path.join("FORMAT"))
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(directory: &Path) -> Result<File, StateDirError> {
    let path = directory.join("lock");
    let io = |error: std::io::Error| StateDirError::Io { path: path.clone(), error };
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let mut file = options.open(&path).map_err(io)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(StateDirError::InUse { path: directory.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(error) => return Err(io(error.into())),
    }
    // Only for the message above; on a full disk it stays as it was.
    if file.set_len(0).is_ok() {
        let _ = writeln!(file, "{}", std::process::id());
    }
    Ok(file)
}

fn check_format(directory: &Path) -> Result<(), StateDirError> {
    let path = directory.join("FORMAT");
    // Bytes, because another version may write anything here.
    match std::fs::read(&path) {
        Ok(found) if found == FORMAT.as_bytes() => Ok(()),
        // A first start that was cut short leaves it empty at worst, and then nothing else is there.
        Ok(found) if found.is_empty() && !directory.join("journal").exists() => write_format(&path),
        Ok(found) => {
            let found = String::from_utf8_lossy(&found).trim().chars().take(60).collect();
            Err(StateDirError::Format { path, found })
        }
        // It is durable before a journal is made, and the last thing that a restore writes.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && directory.join("journal").exists() => {
            Err(StateDirError::NoFormat { path })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write_format(&path),
        Err(error) => Err(StateDirError::Io { path, error }),
    }
}

fn write_format(path: &Path) -> Result<(), StateDirError> {
    write_private(path, FORMAT.as_bytes(), 0o600).map_err(|error| StateDirError::Io { path: path.to_owned(), error })
}

/// Writes a small file so that it is there whole or not at all, also after a power cut.
pub(super) fn write_private(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let unfinished = path.with_extension("new");
    let _ = std::fs::remove_file(&unfinished);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&unfinished)?;
    // The umask has its say in the line above.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/state");
        let first = StateDir::open(&path).unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(StateDir::open(&path).is_ok());
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_others_could_have_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| match StateDir::open(path) {
            Err(StateDirError::Untrusted { path, .. }) => path,
            other => panic!("{other:?}"),
        };
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(refused(&open), open);
        let link = folder.path().join("link");
        symlink(folder.path().join("elsewhere"), &link).unwrap();
        std::fs::create_dir(folder.path().join("elsewhere")).unwrap();
        assert_eq!(refused(&link), link);
        let state = folder.path().join("state");
        drop(StateDir::open(&state).unwrap());
        symlink(folder.path(), state.join("journal")).unwrap();
        assert_eq!(refused(&state), state.join("journal"));
    }

    #[test]
    fn a_journal_without_a_format_is_not_taken_for_one_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        drop(StateDir::open(&state).unwrap());
        std::fs::remove_file(state.join("FORMAT")).unwrap();
        drop(StateDir::open(&state).expect("nothing is in it yet"));
        std::fs::remove_file(state.join("FORMAT")).unwrap();
        std::fs::create_dir(state.join("journal")).unwrap();
        assert!(matches!(StateDir::open(&state), Err(StateDirError::NoFormat { .. })));
        assert!(!state.join("FORMAT").exists());
    }

    #[test]
    fn a_future_format_is_refused_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        drop(StateDir::open(&state).unwrap());
        std::fs::write(state.join("FORMAT"), "postrider store 2\n").unwrap();
        let error = ServeError::from(StateDir::open(&state).unwrap_err());
        assert!(matches!(error, ServeError::Unusable(_)));
    }
}
