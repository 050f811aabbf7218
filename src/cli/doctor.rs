//! `postrider doctor`: one line a check, each with what to do when it is not in order.
//!
//! It changes nothing, and shows nothing that could not be pasted into a report: no URL, no header, no payload, no token. What
//! is judged, and how, is in [`checks`].
//!
//! Invariant: exit 1 exactly if a check says FAIL.

mod checks;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::output::{Cell, Style};
use super::{Ended, ExitCode, Failure, Session, tui};
use crate::admin::client::{Caller, Client, ClientError};
use crate::config::{Config, paths};
use checks::{Check, Terminal, Verdict, doubtful, fine, wrong};

const EXAMPLES: &str = "\
Examples:
  postrider doctor              what is not in order, and what to do about it
  sudo postrider doctor --deep  every record of the store as well; can take long
";

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Have every record of the store checked as well; can take long
    #[arg(long)]
    deep: bool,
}

pub(super) async fn run(session: &mut Session<'_>, arguments: &Arguments) -> Ended {
    let mut all = Vec::new();
    let (config, checked) = configuration(session);
    all.push(checked);
    let state_dir = session.state_dir(&config);
    let sockets = paths::client_sockets(session.places.socket.as_deref(), session.env, &config, state_dir.as_deref());
    let sockets: Vec<PathBuf> = sockets.into_iter().map(|located| located.path).collect();
    all.extend(daemon(&sockets, arguments.deep).await);
    let set = |name: &&str| (session.env)(name).is_some_and(|value| !value.is_empty());
    let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let configured = config.egress.proxy.as_ref().map(ToString::to_string);
    all.push(checks::proxy(&proxies.into_iter().filter(set).collect::<Vec<_>>(), configured.as_deref()));
    all.push(checks::clock(clock_keeper().as_deref()));
    all.push(checks::terminal(&terminal(session)));
    for check in &all {
        show(session, check)?;
    }
    let worst = all.iter().map(|check| check.verdict).max();
    Ok(if worst == Some(Verdict::Wrong) { ExitCode::No } else { ExitCode::Done })
}

fn show(session: &mut Session<'_>, check: &Check) -> Result<(), Failure> {
    if session.output.json() {
        return session.output.object(&json!({
            "check": check.name, "verdict": check.verdict.word().to_ascii_lowercase(), "found": check.found,
            "advice": check.advice,
        }));
    }
    let style = match check.verdict {
        Verdict::Fine => Style::Good,
        Verdict::Doubtful => Style::Waiting,
        Verdict::Wrong => Style::Bad,
    };
    let word = Cell::styled(format!("{:<5}", check.verdict.word()), style);
    session.output.line(&[word, format!("{:<13} {}", check.name, check.found).into()])?;
    if check.advice.is_empty() {
        return Ok(());
    }
    session.output.line(&[format!("{:>18} -> {}", "", check.advice).into()])
}

/// The configuration that the daemon would read, and what is to be said of it.
fn configuration(session: &mut Session<'_>) -> (Config, Check) {
    const NAME: &str = "config";
    let located = paths::config_file(session.places.config.as_deref(), session.env, &|path| path.exists());
    let Some(located) = located else {
        return (Config::default(), fine(NAME, "no configuration file: every default, loopback receivers permitted"));
    };
    let path = located.path.display().to_string();
    match Config::load(Some(&located.path)) {
        Ok(config) => {
            let notes: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
            let check = if notes.is_empty() {
                fine(NAME, format!("{path}: ok"))
            } else {
                doubtful(NAME, format!("{path}: {}", notes.join("; ")), "see `postrider check-config`")
            };
            (config, check)
        }
        Err(problems) => {
            // Written for its owner only, as it should be when it holds a password.
            let unreadable = std::fs::File::open(&located.path).is_err();
            let first = problems.first().map_or(String::new(), ToString::to_string);
            let check = if unreadable {
                doubtful(NAME, first, "run doctor as root, or as the daemon's user, to have it checked")
            } else {
                let more = problems.len().saturating_sub(1);
                wrong(
                    NAME,
                    if more > 0 { format!("{first}; and {more} more") } else { first },
                    "see `postrider check-config`",
                )
            };
            (Config::default(), check)
        }
    }
}

/// Whether the daemon can be reached, and all that it says of itself.
async fn daemon(sockets: &[PathBuf], deep: bool) -> Vec<Check> {
    const NAME: &str = "daemon";
    let caller = Caller { via: "cli", sudo_user: None, read_only: !deep };
    let client = match Client::connect(sockets, &caller).await {
        Ok(client) => client,
        Err(ClientError::Forbidden { path }) => {
            let advice =
                "become a member of the group postrider (usermod -aG postrider USER, then log in again), or use sudo";
            return vec![wrong(NAME, format!("{} is not for this user", path.display()), advice)];
        }
        Err(error) => {
            return vec![wrong(NAME, error.to_string(), "start it: systemctl start postrider, or postrider serve")];
        }
    };
    let status = match client.status().await {
        Ok(status) => status,
        Err(error) => {
            return vec![wrong(NAME, error.to_string(), "restart it, and see its log: journalctl -u postrider")];
        }
    };
    let mut all = vec![fine(NAME, format!("pid {}, up {}", status.pid, super::status::span(status.uptime_seconds)))];
    all.extend(checks::of_status(&status));
    if deep {
        all.push(match client.verify().await {
            Ok(report) if super::verify::is_sound(&report) => {
                fine("store", super::verify::in_words(&report).replace('\n', "; "))
            }
            Ok(report) => wrong(
                "store",
                super::verify::in_words(&report).replace('\n', "; "),
                "check the disk (smartctl -a), restore what is lost from a backup",
            ),
            Err(error) => wrong("store", error.to_string(), "it could not be checked; try `postrider verify`"),
        });
    }
    let proc_status = std::fs::read_to_string(format!("/proc/{}/status", status.pid)).ok();
    all.push(checks::confinement(proc_status.as_deref().filter(|text| text.starts_with("Name:\tpostrider"))));
    all
}

/// What keeps the clock in step, as far as it leaves traces.
fn clock_keeper() -> Option<String> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some("systemd-timesyncd".to_owned());
    }
    let programs = ["chronyd", "ntpd", "openntpd", "ptp4l", "VBoxService", "vmtoolsd", "qemu-ga"];
    let names = std::fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let path = entry.ok()?.path().join("comm");
        std::fs::read_to_string(path).ok()
    });
    names.map(|name| name.trim().to_owned()).find(|name| programs.contains(&name.as_str()))
}

fn terminal(session: &Session<'_>) -> Terminal {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let surroundings = tui::surroundings(session);
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| (size.ws_col, size.ws_row));
    Terminal {
        colours: !surroundings.no_color && surroundings.term != "dumb",
        utf8: surroundings.utf8,
        term: surroundings.term,
        size: size.filter(|_| is_terminal),
        tmux_clipboard: session.variable("TMUX").filter(|_| is_terminal).and_then(|_| tmux_clipboard()),
    }
}

fn tmux_clipboard() -> Option<String> {
    let told = std::process::Command::new("tmux").args(["show-options", "-gsv", "set-clipboard"]).output().ok()?;
    Some(String::from_utf8_lossy(&told.stdout).trim().to_owned()).filter(|value| !value.is_empty())
}
