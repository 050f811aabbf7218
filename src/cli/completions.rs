//! `postrider completions SHELL`, and the answers that it then asks for while somebody types.
//!
//! The shell calls the program back with what has been typed, so that names of webhooks and event types are those of the daemon.
//! It changes nothing there, and waits for it but a moment.
//!
//! Invariant: whatever goes wrong, completing ends quietly, with fewer words.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, Args, Command, CommandFactory as _};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;

use super::{Cli, Ended, ExitCode, Failure, Session};
use crate::admin::client::{Caller, Client};
use crate::config::Config;
use crate::config::paths::{self, Environment};
use crate::domain::event_type::KNOWN;

/// Set by the shell's part when it asks.
const VARIABLE: &str = "POSTRIDER_COMPLETE";
/// Somebody is typing.
const PATIENCE: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  source <(postrider completions bash)                                       in ~/.bashrc
  postrider completions fish > ~/.config/fish/completions/postrider.fish     once
";

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

pub(super) fn run(session: &mut Session<'_>, arguments: &Arguments) -> Ended {
    let shells = Shells::builtins();
    let shell = shells.completer(&arguments.shell).ok_or_else(|| Failure::usage("there is no such shell"))?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "postrider", "postrider", "postrider", &mut script)
        .map_err(|error| Failure::output(&error))?;
    session.output.text(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::Done)
}

/// Answers a shell that asks; `None` when none does.
pub(super) fn answer(env: Environment<'_>, args: &[OsString]) -> Option<ExitCode> {
    env(VARIABLE).filter(|value| !value.is_empty())?;
    let flag = args.iter().skip_while(|arg| *arg != "--socket").nth(1).map(PathBuf::from);
    let sockets: Arc<[PathBuf]> = sockets(env, flag.as_deref()).into();
    let command = || with_words(Cli::command(), "", &sockets);
    let directory = std::env::current_dir().ok();
    let _ = CompleteEnv::with_factory(command).var(VARIABLE).try_complete(args.iter().cloned(), directory.as_deref());
    Some(ExitCode::Done)
}

/// Where the daemon may be. What is broken is of no interest to somebody who types.
fn sockets(env: Environment<'_>, flag: Option<&Path>) -> Vec<PathBuf> {
    let file = paths::config_file(None, env, &|path| path.exists());
    let config = file.and_then(|file| Config::load(Some(&file.path)).ok()).unwrap_or_default();
    let is_root = rustix::process::geteuid().is_root();
    let state_dir = paths::state_dir(None, env, &config, is_root).ok().map(|located| located.path);
    let located = paths::client_sockets(flag, env, &config, state_dir.as_deref());
    located.into_iter().map(|located| located.path).collect()
}

/// What a value is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Webhook,
    EventType,
    Key,
}

/// What an argument of a command takes, if the daemon knows the words for it.
fn kind(command: &str, parent: &str, arg: &Arg) -> Option<Kind> {
    let value_name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    match (parent, command, arg.get_id().as_str()) {
        ("webhook", "create", "name") | ("key", "create", "name") => None,
        ("webhook", _, "name") | (_, _, "webhook") => Some(Kind::Webhook),
        ("key", _, "name") => Some(Kind::Key),
        ("event", "define", "name") => None,
        ("event", "undefine", "name") | (_, _, "event_type" | "event_types" | "types") => Some(Kind::EventType),
        _ if value_name == "TYPE" => Some(Kind::EventType),
        _ => None,
    }
}

fn with_words(command: Command, parent: &str, sockets: &Arc<[PathBuf]>) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match kind(&name, parent, &arg) {
        Some(kind) => {
            let sockets = Arc::clone(sockets);
            arg.add(ArgValueCompleter::new(move |typed: &OsStr| candidates(kind, &sockets, typed)))
        }
        None => arg,
    });
    command.mut_subcommands(|inner| with_words(inner, &name, sockets))
}

fn candidates(kind: Kind, sockets: &[PathBuf], typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy().into_owned();
    let words = super::runtime().map(|runtime| {
        runtime.block_on(async { tokio::time::timeout(PATIENCE, words(kind, sockets)).await.unwrap_or_default() })
    });
    let fits = words.unwrap_or_default().into_iter().filter(|(word, _)| fits(word, &typed));
    fits.map(|(word, help)| CompletionCandidate::new(word).help(Some(help.into()))).collect()
}

/// Event types may be written in any letter case.
fn fits(word: &str, typed: &str) -> bool {
    word.get(..typed.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(typed))
}

/// Words with what they are about.
async fn words(kind: Kind, sockets: &[PathBuf]) -> Vec<(String, String)> {
    let caller = Caller { via: "cli", sudo_user: None, read_only: true };
    let client = Client::connect(sockets, &caller).await.ok();
    let words =
        match (kind, client) {
            (Kind::Webhook, Some(client)) => client.webhooks(false).await.ok().map(|list| {
                let about = |webhook: &crate::admin::protocol::WebhookView| match (webhook.active, webhook.paused) {
                    (false, _) => "inactive".to_owned(),
                    (_, true) => "paused".to_owned(),
                    _ => webhook.event_types.join(", "),
                };
                list.items.iter().map(|webhook| (webhook.name.clone(), about(webhook))).collect::<Vec<_>>()
            }),
            (Kind::EventType, Some(client)) => client
                .event_types()
                .await
                .ok()
                .map(|list| list.items.into_iter().map(|known| (known.name, known.label)).collect::<Vec<_>>()),
            (Kind::Key, Some(client)) => client.keys().await.ok().map(|list| {
                list.items.into_iter().map(|key| (key.name, "ingest token".to_owned())).collect::<Vec<_>>()
            }),
            (_, None) => None,
        };
    let built_in = || KNOWN.iter().map(|known| (known.name.to_owned(), known.label.to_owned())).collect();
    match words {
        Some(words) => words,
        None if kind == Kind::EventType => built_in(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every argument that is completed, as `command subcommand argument`.
    fn completed(command: &Command, parent: &str, found: &mut Vec<String>) {
        for arg in command.get_arguments() {
            if let Some(kind) = kind(command.get_name(), parent, arg) {
                found.push(format!("{parent} {} {}: {kind:?}", command.get_name(), arg.get_id()));
            }
        }
        command.get_subcommands().for_each(|inner| completed(inner, command.get_name(), found));
    }

    #[test]
    fn names_are_completed_where_there_are_some_already() {
        let mut found = Vec::new();
        completed(&Cli::command(), "", &mut found);
        for expected in [
            "webhook show name: Webhook",
            "webhook delete name: Webhook",
            "webhook test name: Webhook",
            "delivery list webhook: Webhook",
            "delivery list event_type: EventType",
            "event send event_type: EventType",
            "event undefine name: EventType",
            "webhook create event_types: EventType",
            "key create types: EventType",
            "key revoke name: Key",
            "postrider audit webhook: Webhook",
        ] {
            assert!(found.iter().any(|one| one == expected), "{expected} is not among {found:#?}");
        }
        let new = ["webhook create name", "key create name", "event define name", "webhook clone new_name"];
        assert!(found.iter().all(|one| !new.iter().any(|new| one.starts_with(new))), "{found:#?}");
    }

    #[test]
    fn what_is_typed_in_small_letters_finds_event_types() {
        assert!(fits("AML_MONITORING", "aml") && fits("x", "") && !fits("é", "e") && !fits("a", "ab"));
    }
}
