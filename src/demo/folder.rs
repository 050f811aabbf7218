//! The directory that a demo has everything in: nobody else's, and gone afterwards.
//!
//! It is never one that was there before, so removing it can not hit what belongs to somebody. It does not know what is in it.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::daemon::ServeError;
use crate::random::Random;

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    removed: bool,
}

impl Folder {
    /// Makes one within `parent`.
    pub(super) fn make(parent: &Path) -> Result<Self, ServeError> {
        // Short: the path of the socket in it may have about a hundred bytes.
        let path = parent.join(format!("postrider-demo-{:08x}", Random::Os.bits() as u32));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self { path, removed: false }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(ServeError::NotPermitted(format!("{}: {error}", path.display())))
            }
            Err(error) => Err(ServeError::Io(format!("{}: {error}", path.display()))),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it and what is in it.
    pub(super) fn remove(mut self) -> Result<(), ServeError> {
        self.removed = true;
        std::fs::remove_dir_all(&self.path)
            .map_err(|error| ServeError::Io(format!("{} is left over: {error}", self.path.display())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.removed {
            // Something else went wrong before, and that is what is told.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_private_and_goes_with_what_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let (dropped, removed) = (Folder::make(parent.path()).unwrap(), Folder::make(parent.path()).unwrap());
        assert_eq!(dropped.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(dropped.path().join("file"), "x").unwrap();
        std::fs::write(removed.path().join("file"), "x").unwrap();
        drop(dropped);
        removed.remove().unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        assert!(matches!(Folder::make(&parent.path().join("none")), Err(ServeError::Io(_))));
    }
}
