//! `postrider tui`, and `postrider` alone on a terminal: opens the terminal UI.
//!
//! It finds out what the UI needs to know of its surroundings, once, and hands it over. The UI itself
//! reads no environment.
//!
//! Invariant: what is no terminal is never drawn into; the way out names the commands that do the same.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{Ended, ExitCode, Failure, Session};
use crate::config::paths;
use crate::tui::settings::{Settings, Surroundings, read};
use crate::tui::{self, Options};

#[derive(Debug, Default, Args)]
pub(super) struct Tui {
    /// Look and change nothing; the daemon sees to that
    #[arg(long)]
    read_only: bool,
}

/// Whether there is a terminal to draw on.
pub(super) fn has_terminal(session: &Session<'_>) -> bool {
    let term = (session.env)("TERM").unwrap_or_default();
    io::stdin().is_terminal() && io::stdout().is_terminal() && !term.is_empty() && term != "dumb"
}

pub(super) fn run(session: &mut Session<'_>, arguments: &Tui) -> Ended {
    let sockets = session.sockets()?;
    open(session, sockets, arguments.read_only, None)
}

/// Opens the UI on the first of these sockets that answers; `time` ends it by itself.
pub(super) fn open(session: &mut Session<'_>, sockets: Vec<PathBuf>, read_only: bool, time: Option<Duration>) -> Ended {
    if !has_terminal(session) {
        return Err(Failure::usage("the terminal UI needs a terminal, and $TERM to say which")
            .advise("the same can be done with `postrider status`, `webhook`, `delivery` and `event`; see --help"));
    }
    let mut settings = settings(session, &files(session))?;
    settings.utc |= session.zone_is_utc();
    let command = |names: [&str; 2], default: &str| {
        let set = names.iter().filter_map(|name| (session.env)(name)).find(|value| !value.is_empty());
        set.unwrap_or_else(|| OsString::from(default))
    };
    let options = Options {
        sockets,
        sudo_user: (session.env)("SUDO_USER").and_then(|user| user.into_string().ok()).filter(|user| !user.is_empty()),
        read_only,
        settings,
        state_file: session.home("XDG_STATE_HOME", ".local/state").map(|folder| folder.join("postrider/tui.json")),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        zone: session.zone.clone(),
        editor: command(["VISUAL", "EDITOR"], "vi"),
        pager: command(["PAGER", "PAGER"], "less"),
        scratch: session
            .variable("XDG_RUNTIME_DIR")
            .or_else(|| session.variable("TMPDIR"))
            .unwrap_or_else(|| "/tmp".into()),
        directory: std::env::current_dir().unwrap_or_else(|_| Path::new("/").into()),
        time,
        tmux: session.variable("TMUX").is_some(),
    };
    match tui::run(options) {
        Ok(tui::Ended::Quit) => Ok(ExitCode::Done),
        Ok(tui::Ended::Signal(number)) => Ok(ExitCode::Signal(u8::try_from(number).unwrap_or(0))),
        Ok(tui::Ended::Fault) => {
            Err(Failure::new(ExitCode::Internal, "a fault in postrider; please report what it said above"))
        }
        // Nobody is there to be told.
        Ok(tui::Ended::Gone) => Ok(ExitCode::Signal(1)),
        Err(error) => Err(Failure::new(ExitCode::InputOutput, format!("the terminal can not be used: {error}"))),
    }
}

/// What the first of these files that is there wants.
fn settings(session: &Session<'_>, files: &[PathBuf]) -> Result<Settings, Failure> {
    let mut settings = Settings::of(&surroundings(session));
    let refused = |(file, problems): (PathBuf, Vec<String>)| {
        let lines: Vec<String> = problems.iter().map(|problem| format!("{}: {problem}", file.display())).collect();
        Failure::new(ExitCode::BadConfig, lines.join("\n")).advise("correct the file, or move it away")
    };
    read(&mut settings, files).map_err(refused).map(|()| settings)
}

/// Whether the UI would take this file.
pub(super) fn check(session: &mut Session<'_>, file: &Path) -> Ended {
    if !file.exists() {
        return Err(Failure::new(ExitCode::NoInput, format!("{} is not there", file.display())));
    }
    settings(session, &[file.to_owned()])?;
    session.output.done(&format!("{}: ok", file.display()))?;
    Ok(ExitCode::Done)
}

/// Says what is wrong with the settings that the UI would read here.
pub(super) fn warn(session: &mut Session<'_>) {
    if let Err(failure) = settings(session, &files(session)) {
        for line in failure.text.lines() {
            session.output.note(&format!("warning: {line}"));
        }
    }
}

/// What is known of the terminal, from the environment.
pub(super) fn surroundings(session: &Session<'_>) -> Surroundings {
    let text = |name: &str| (session.env)(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
    // The first that is set decides, as in the C library.
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(text).into_iter().find(|value| !value.is_empty());
    let locale = locale.unwrap_or_default().to_lowercase();
    Surroundings {
        term: text("TERM"),
        colorterm: text("COLORTERM"),
        colorfgbg: text("COLORFGBG"),
        no_color: !text("NO_COLOR").is_empty() || session.no_color,
        utf8: locale.contains("utf-8") || locale.contains("utf8"),
    }
}

/// The user's own settings, then those of everybody.
fn files(session: &Session<'_>) -> Vec<PathBuf> {
    let own = session.home("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("postrider/tui.toml"));
    own.into_iter().chain([PathBuf::from("/etc/postrider/tui.toml")]).collect()
}

impl Session<'_> {
    /// An XDG base directory, or its default below `$HOME`.
    fn home(&self, name: &str, below: &str) -> Option<PathBuf> {
        let absolute = |path: &PathBuf| path.is_absolute();
        let home = || self.variable("HOME").filter(absolute).map(|home| home.join(below));
        self.variable(name).filter(absolute).or_else(home)
    }

    /// Sockets on which the daemon may be.
    pub(super) fn sockets(&mut self) -> Result<Vec<PathBuf>, Failure> {
        let config = self.config_for_finding()?;
        let state_dir = self.state_dir(&config);
        let located = paths::client_sockets(self.places.socket.as_deref(), self.env, &config, state_dir.as_deref());
        Ok(located.into_iter().map(|located| located.path).collect())
    }
}
