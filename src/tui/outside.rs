//! Other programs and files: editor, pager, clipboard.
//!
//! What is said afterwards is what was done and never more: that a text was sent to the terminal, not
//! that it arrived in a clipboard.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;

use super::terminal::Screen;
use crate::editor::{self, Draft};

/// Terminals refuse or cut longer texts.
const CLIPBOARD_MAX: usize = 74_000;

/// What is started, and where files for it lie.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    /// A command for a shell.
    pub(super) editor: OsString,
    /// A command for a shell.
    pub(super) pager: OsString,
    /// A folder that only this user can read, if there is one.
    pub(super) scratch: PathBuf,
    /// tmux keeps a clipboard of its own.
    pub(super) tmux: bool,
}

impl Programs {
    fn draft(&self, text: &str, suffix: &str) -> Result<Draft, String> {
        Draft::create(&self.scratch, text, suffix).map_err(|(path, error)| format!("{}: {error}", path.display()))
    }

    /// Has a text edited; what it is then.
    pub(super) fn edit(&self, text: &str, suffix: &str) -> Result<String, String> {
        let draft = self.draft(text, suffix)?;
        let kept = |why: String| format!("{why}; nothing was changed, the text is in {}", draft.path.display());
        match editor::run(&self.editor, &draft.path) {
            Ok(status) if status.success() => {
                let text = draft.read().map_err(|error| kept(error.to_string()))?;
                draft.discard();
                Ok(text)
            }
            Ok(status) => Err(kept(format!("the editor ended with {status}"))),
            Err(error) => Err(kept(format!("the editor can not be started: {error}"))),
        }
    }

    /// Shows a text in the pager. What steers terminals is taken out: pagers may pass it on.
    pub(super) fn page(&self, text: &str) -> Result<(), String> {
        let shown: Vec<_> = text.lines().map(super::text::safe).collect();
        let draft = self.draft(&shown.join("\n"), ".txt")?;
        let done = editor::run(&self.pager, &draft.path);
        draft.discard();
        match done {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the pager ended with {status}")),
            Err(error) => Err(format!("the pager can not be started: {error}")),
        }
    }

    /// Puts a text into the clipboard of whoever sits at the terminal, over any number of hops.
    pub(super) fn copy(&self, screen: &mut Screen, text: &str, what: &str) -> Result<String, String> {
        if text.len() > CLIPBOARD_MAX {
            let draft = self.draft(text, ".txt")?;
            return Ok(format!("{what} is too long for a clipboard; it is in {}", draft.path.display()));
        }
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        screen
            .send(format!("\u{1b}]52;c;{encoded}\u{7}").as_bytes())
            .map_err(|error| format!("{what} could not be sent to the terminal: {error}"))?;
        if self.tmux {
            // Without `set-clipboard on` tmux keeps what programs send to itself.
            let _ = load_buffer(text);
        }
        Ok(format!("{what} was sent to the terminal's clipboard"))
    }
}

fn load_buffer(text: &str) -> io::Result<()> {
    let mut tmux = Command::new("tmux")
        .args(["load-buffer", "-w", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = tmux.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    tmux.wait().map(drop)
}

/// Writes a file that is not there yet: nothing is overwritten by a slip of the finger.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<String, String> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match file.and_then(|mut file| file.write_all(bytes)) {
        Ok(()) => Ok(format!("written to {}", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
