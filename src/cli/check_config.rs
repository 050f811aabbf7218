//! `postrider check-config`: reads the configuration as the daemon would, and starts nothing.
//!
//! It resolves no names and opens none of the files that keys point to.
//!
//! Invariant: exit 0 exactly if the daemon would accept the configuration, or, for a file called `tui.toml`, the terminal UI
//! would. When no file is named, what is wrong with the user's own `tui.toml` is a warning: the daemon does not read it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Ended, ExitCode, Session, tui};
use crate::config::paths;
use crate::config::{Config, Problem};

const EXAMPLES: &str = "\
Examples:
  postrider check-config                    the file that `serve` would read
  postrider check-config ./postrider.toml   another one
  postrider check-config --print            every key with its value and where it comes from
  postrider check-config ~/.config/postrider/tui.toml   keys and colours of the terminal UI
";

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The file [default: the one `serve` would read]
    file: Option<PathBuf>,
    /// Print every key with its value and where it comes from
    #[arg(long)]
    print: bool,
}

pub(super) fn run(session: &mut Session<'_>, arguments: &Arguments) -> Ended {
    if let Some(file) = arguments.file.as_ref().filter(|file| file.ends_with("tui.toml")) {
        return tui::check(session, file);
    }
    let flag = arguments.file.as_deref().or(session.places.config.as_deref());
    let located = paths::config_file(flag, session.env, &|path| path.exists());
    let file = located.map(|located| located.path);
    let config = match Config::load(file.as_deref()) {
        Ok(config) => config,
        Err(problems) => return refused(session, &problems),
    };
    for warning in &config.warnings {
        session.output.note(&format!("warning: {warning}"));
    }
    if arguments.file.is_none() {
        tui::warn(session);
    }
    if arguments.print {
        print(session, &config)?;
    } else if session.output.json() {
        let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
        session.output.object(&json!({"ok": true, "files": config.files, "warnings": warnings}))?;
    } else {
        let shown = file.map_or("no configuration file: every default".to_owned(), |file| file.display().to_string());
        session.output.done(&format!("{shown}: ok"))?;
    }
    Ok(ExitCode::Done)
}

fn refused(session: &mut Session<'_>, problems: &[Problem]) -> Ended {
    for problem in problems {
        if session.output.json() {
            let place = &problem.place;
            session.output.object(&json!({
                "file": place.file.display().to_string(), "line": place.line, "column": place.column,
                "key": problem.key, "problem": problem.fault.text, "found": problem.fault.found,
                "allowed": problem.fault.allowed, "nearest": problem.fault.nearest,
            }))?;
        } else {
            session.output.remark(&problem.to_string());
        }
    }
    Ok(ExitCode::BadConfig)
}

fn print(session: &mut Session<'_>, config: &Config) -> Result<(), super::Failure> {
    let is_root = rustix::process::geteuid().is_root();
    let state_dir = paths::state_dir(session.places.state_dir.as_deref(), session.env, config, is_root).ok();
    let socket = state_dir
        .as_ref()
        .map(|state| paths::server_socket(session.places.socket.as_deref(), session.env, config, &state.path));
    let place = |place: &Option<_>| place.as_ref().map_or("default".to_owned(), ToString::to_string);
    // What flags and environment say is in force, whatever stands in the file.
    let overridden = |key: &str| match key {
        "state_dir" => state_dir.as_ref(),
        "admin.socket" => socket.as_ref(),
        _ => None,
    };
    for setting in &config.settings {
        let (value, origin) = match overridden(&setting.key) {
            Some(located) => {
                let origin = match located.origin {
                    paths::Origin::Config(_) => place(&setting.place),
                    other => other.to_string(),
                };
                (format!("{:?}", located.path.to_string_lossy()), origin)
            }
            None => (setting.value.clone(), place(&setting.place)),
        };
        if session.output.json() {
            session.output.object(&json!({"key": setting.key, "value": value, "origin": origin}))?;
        } else {
            session.output.text(&format!("{} = {value}  # {origin}", setting.key))?;
        }
    }
    Ok(())
}
