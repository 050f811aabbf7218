//! The user's editor and pager, on a file that only the user can read.
//!
//! It knows nothing of what is edited. Invariants: no file that is there already is written; what was
//! written is never lost, whatever goes wrong.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// A text that is being edited: a file that only this user can read, since secrets may be written into it.
#[derive(Debug)]
pub struct Draft {
    /// Where it lies.
    pub path: PathBuf,
}

impl Draft {
    /// Writes a text into a new file in `folder`; `suffix` tells editors what it is.
    ///
    /// # Errors
    /// With the path, if no file can be made there.
    pub fn create(folder: &Path, text: &str, suffix: &str) -> Result<Self, (PathBuf, io::Error)> {
        let mut number = 0;
        loop {
            let path = folder.join(format!("postrider-{}-{number}{suffix}", std::process::id()));
            // Never an existing file: it could be somebody else's link.
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    return match file.write_all(text.as_bytes()) {
                        Ok(()) => Ok(Self { path }),
                        Err(error) => Err((path, error)),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 100 => number += 1,
                Err(error) => return Err((path, error)),
            }
        }
    }

    /// The text as it is now.
    ///
    /// # Errors
    /// If it can not be read.
    pub fn read(&self) -> io::Result<String> {
        fs::read_to_string(&self.path)
    }

    /// Removes it: nothing depends on it any more.
    pub fn discard(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Runs a program of the user's on a file, as `git` does: the variable may hold arguments.
///
/// # Errors
/// If it can not be started.
pub fn run(program: &OsStr, path: &Path) -> io::Result<ExitStatus> {
    let mut command = OsString::from(program);
    command.push(" \"$@\"");
    Command::new("/bin/sh").arg("-c").arg(command).arg(program).arg(path).status()
}
