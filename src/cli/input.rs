//! What comes from files, standard input and the person at the terminal.
//!
//! It does not interpret what it reads.
//!
//! Invariants: everything is bounded; nobody is asked without a terminal; a secret ends in
//! memory that is wiped.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::exit_code::ExitCode;
use super::failure::Failure;
use super::output::Output;
use crate::domain::secret::Secret;

/// The daemon's own largest limit for a body.
const PAYLOAD_BYTES_MAX: u64 = 16 << 20;
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The bytes of a file; `-` is standard input.
pub(super) fn payload(path: &Path) -> Result<Vec<u8>, Failure> {
    bounded(path, PAYLOAD_BYTES_MAX)
}

/// The secret in a file; `-` is standard input. One line end after it is not part of it.
pub(super) fn secret(path: &Path) -> Result<Secret, Failure> {
    let refused = |text: &str| Failure::new(ExitCode::BadData, format!("{}: {text}", path.display()));
    let text = String::from_utf8(bounded(path, SECRET_BYTES_MAX)?).map_err(|_| refused("not UTF-8 text"))?;
    let secret = Secret::new(text);
    let line = secret.expose().strip_suffix('\n').unwrap_or(secret.expose());
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(refused("it is empty"));
    }
    Ok(Secret::new(line.to_owned()))
}

fn bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(bytes_max + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::input(path, &error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(Failure::new(ExitCode::BadData, format!("{}: larger than {bytes_max} bytes", path.display())));
    }
    Ok(bytes)
}

/// Whether the person means it: `--yes`, or the name typed at the terminal.
pub(super) fn confirm(output: &mut Output, yes: bool, what: &str, name: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !output.can_ask() {
        return Err(Failure::usage(format!("{what} and there is no terminal to ask at")).advise("add --yes to do it"));
    }
    output.remark(&format!("{what}."));
    match output.ask(&format!("Type the name ({name}) to go on:")) {
        Some(answer) if answer == name => Ok(()),
        _ => Err(Failure::new(ExitCode::No, "nothing was changed")),
    }
}

/// Whether the person means it: `--yes`, or a yes at the terminal. For what is no loss.
pub(super) fn agree(output: &mut Output, yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !output.can_ask() {
        return Err(Failure::usage(format!("{what} and there is no terminal to ask at")).advise("add --yes to do it"));
    }
    match output.ask(&format!("{what}. Go on? [y/N]")).map(|answer| answer.to_ascii_lowercase()).as_deref() {
        Some("y" | "yes") => Ok(()),
        _ => Err(Failure::new(ExitCode::No, "nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::{look, memory};

    #[test]
    fn a_secret_is_the_file_without_its_last_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for (written, read) in [("k", "k"), ("k\n", "k"), ("k\r\n", "k"), (" k \n\n", " k \n")] {
            std::fs::write(&path, written).unwrap();
            assert_eq!(secret(&path).unwrap().expose(), read, "{written:?}");
        }
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(secret(&path).unwrap_err().exit, ExitCode::BadData);
        assert_eq!(secret(&folder.path().join("none")).unwrap_err().exit, ExitCode::NoInput);
        assert_eq!(payload(folder.path()).unwrap_err().exit, ExitCode::NoInput);
    }

    #[test]
    fn without_a_terminal_only_yes_counts() {
        let (mut output, _, _) = memory(look());
        assert_eq!(confirm(&mut output, true, "it goes", "x"), Ok(()));
        assert_eq!(agree(&mut output, true, "it goes"), Ok(()));
        for refused in [confirm(&mut output, false, "it goes", "x"), agree(&mut output, false, "it goes")] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.exit, ExitCode::Usage);
            assert!(refused.advice.unwrap().contains("--yes"));
        }
    }
}
