//! `postrider backup`: the whole store as one file, while the daemon runs; and what `restore` has to say.
//!
//! The daemon makes the archive; here it goes to a file that is there whole or not at all. It does not look into it.
//!
//! Invariant: exit 0 only if everything the daemon sent is on the disk, or went to standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{Ended, ExitCode, Failure, Output, Session, is_stdin};

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// Where to; what is there is replaced once the backup is whole. - is standard output
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// A file that `backup` wrote; - is standard input
    pub(super) file: PathBuf,
}

/// What is done to a store itself, and not by asking its daemon.
#[derive(Debug)]
pub enum Errand {
    /// Run the daemon until it stops.
    Serve,
    /// Make a store from this backup.
    Restore(PathBuf),
}

/// Says what came of an errand.
pub(super) fn tell(output: &mut Output, told: Result<Option<Value>, Failure>) -> Ended {
    let Some(told) = told? else { return Ok(ExitCode::Done) };
    if output.json() {
        output.object(&told)?;
        return Ok(ExitCode::Done);
    }
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    output.done(&format!(
        "{}: restored {} records up to position {} in {} segments",
        text("state_dir"),
        told["records"],
        told["position"],
        told["segments"]
    ))?;
    if told["damaged"] != 0 {
        output.warn(&format!("{} damaged stretches, which were so when the backup was made", told["damaged"]));
    }
    if let Some(path) = told["missing_key"].as_str() {
        output.note(&format!("before the first start, put the master key of the daemon that wrote it to {path}"));
    }
    output
        .note("apps go on with the tokens they have; what was delivered after the backup was made is delivered again");
    Ok(ExitCode::Done)
}

pub(super) async fn run(session: &mut Session<'_>, arguments: &Backup) -> Ended {
    let client = session.client().await?;
    if is_stdin(&arguments.file) {
        if io::stdout().is_terminal() {
            return Err(Failure::usage("a backup is nothing for a terminal")
                .advise("name a file, or send it on: postrider backup - | ssh …"));
        }
        let mut out = io::stdout().lock();
        let mut bytes = 0;
        let each = |piece: &[u8]| {
            bytes += piece.len();
            out.write_all(piece)
        };
        client.backup(each).await?.map_err(|error| Failure::output(&error))?;
        out.flush().map_err(|error| Failure::output(&error))?;
        session.output.note(&format!("{bytes} bytes written"));
        return Ok(ExitCode::Done);
    }
    let unfinished = unfinished(&arguments.file)?;
    let written = write(&client, &unfinished, &arguments.file).await;
    if written.is_err() {
        // Half a backup is none.
        let _ = std::fs::remove_file(&unfinished);
    }
    let bytes = written?;
    if session.output.json() {
        session.output.object(&json!({"v": 1, "file": arguments.file, "bytes": bytes}))?;
    } else {
        session.output.done(&format!(
            "{}: {bytes} bytes. Secrets in it are sealed: keep the master key, too, somewhere else",
            arguments.file.display()
        ))?;
    }
    Ok(ExitCode::Done)
}

/// Beside the file, so that it can take its name.
fn unfinished(file: &Path) -> Result<PathBuf, Failure> {
    let name = file.file_name().ok_or_else(|| Failure::usage(format!("{} is no file name", file.display())))?;
    let mut name = name.to_owned();
    name.push(".unfinished");
    Ok(file.with_file_name(name))
}

async fn write(client: &crate::admin::client::Client, unfinished: &Path, file: &Path) -> Result<u64, Failure> {
    let cannot = |error: io::Error| Failure::new(ExitCode::CannotCreate, format!("{}: {error}", unfinished.display()));
    // One that was cut short may lie there.
    match std::fs::remove_file(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished).map_err(cannot)?;
    let mut out = BufWriter::with_capacity(256 << 10, opened);
    let mut bytes: u64 = 0;
    let each = |piece: &[u8]| {
        bytes += piece.len() as u64;
        out.write_all(piece)
    };
    let failed = |error: io::Error| Failure::new(ExitCode::InputOutput, format!("{}: {error}", unfinished.display()));
    client.backup(each).await?.map_err(failed)?;
    let opened: File = out.into_inner().map_err(|error| failed(error.into_error()))?;
    opened.sync_all().map_err(failed)?;
    std::fs::rename(unfinished, file).map_err(failed)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(bytes)
}
