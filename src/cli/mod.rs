//! The command line: every verb of an operator, as a client of the admin socket.
//!
//! One file per noun. It holds no rules about deliveries, never opens the store, and starts no
//! daemon itself: `serve`, `restore` and the world of `demo` are handed in by `main`.
//!
//! Invariant: whatever is asked, the program ends with one of the codes of [`exit_code`], and
//! everything it says went through [`output`].

use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::admin::client::{Caller, Client};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::paths::{self, Environment};
use crate::domain::time::Timestamp;

mod audit;
mod backup;
mod bulk;
mod check_config;
mod completions;
mod create;
mod delivery;
mod demo;
mod doctor;
mod edit;
mod email;
mod event;
mod event_type;
pub mod exit_code;
mod failure;
mod input;
mod key;
mod listen;
mod man;
pub mod output;
mod parse;
mod signals;
mod status;
mod tail;
#[cfg(test)]
mod tests;
mod transfer;
mod trial;
mod tui;
mod verify;
mod webhook;

pub use backup::Errand;
pub use demo::{Foreground, Stage};
pub use exit_code::ExitCode;
pub use failure::Failure;
pub use output::Output;

use output::{ColorChoice, Look};

const EXAMPLES: &str = "\
Examples:
  postrider serve                                   start the daemon
  postrider demo                                    watch one at work, with everything it needs, and leave no trace
  postrider webhook create --name aml --url https://example.net/hook --event-type AML_MONITORING
  postrider event send AML_MONITORING payload.json  post an event
  postrider delivery list --class 5xx --since 1h    what went wrong lately
  postrider delivery resend dlv_…                   another go
";

/// Self-hosted webhook delivery: accepts events on a local port and delivers them to webhooks.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, before_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the daemon's things are: the flags, not yet resolved.
#[derive(Clone, Debug, Default, Args)]
pub struct Places {
    /// Configuration file [default: /etc/postrider/postrider.toml, or the one in your home]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Directory with everything durable
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub state_dir: Option<PathBuf>,
    /// The admin socket
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    #[command(flatten)]
    places: Places,
    /// JSON on standard output: one object, or one object a line for lists
    #[arg(long, global = true)]
    json: bool,
    /// Say only what was asked for, and errors
    #[arg(long, short, global = true)]
    quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = false)]
    color: ColorChoice,
    /// The same as --color=never
    #[arg(long, global = true, conflicts_with = "color")]
    no_color: bool,
    /// Show times in UTC instead of local time
    #[arg(long, global = true)]
    utc: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve,
    /// Open the terminal UI; `postrider` alone on a terminal does the same
    Tui(tui::Tui),
    /// Watch deliveries in a world of their own, which is removed at the end
    Demo(demo::Arguments),
    /// Be a receiver: show what is delivered, verify its signatures, misbehave on purpose
    Listen(listen::Arguments),
    /// How the daemon is doing
    Status(status::Thresholds),
    /// Find out what is not in order, and what to do about it
    Doctor(doctor::Arguments),
    /// Check the configuration file without starting anything
    #[command(visible_alias = "configtest")]
    CheckConfig(check_config::Arguments),
    /// Make, look at and change webhooks
    #[command(subcommand, arg_required_else_help = true)]
    Webhook(webhook::Command),
    /// Find deliveries, look at their attempts, send them again
    #[command(subcommand, arg_required_else_help = true)]
    Delivery(delivery::Command),
    /// Post events and look at them
    #[command(subcommand, arg_required_else_help = true)]
    Event(event::Command),
    /// Tokens with which applications post events
    #[command(subcommand, arg_required_else_help = true)]
    Key(key::Command),
    /// Try whether mail about failures gets out
    #[command(subcommand, arg_required_else_help = true)]
    Email(email::Command),
    /// Write webhooks and event types as a file to keep in version control, secrets sealed
    Export(transfer::Export),
    /// Bring them in step with such a file: shows the plan, then applies it
    Import(transfer::Import),
    /// Write the whole store to one file, while the daemon runs; secrets stay sealed
    Backup(backup::Backup),
    /// Make a store from such a file, before the daemon is started
    Restore(backup::Restore),
    /// Who changed what, newest first
    Audit(audit::Arguments),
    /// Check every record of the store; can take long
    Verify,
    /// Completions for a shell, on standard output
    Completions(completions::Arguments),
    /// Write the pages of the manual into a directory
    Man(man::Arguments),
}

/// What every command works with.
struct Session<'a> {
    output: Output,
    env: Environment<'a>,
    places: Places,
    zone: TimeZone,
    clock: Clock,
    no_color: bool,
}

/// What came of a command.
type Ended = Result<ExitCode, Failure>;

/// Runs one command to its end.
///
/// `args` begins with the name of the program. `daemon` runs the daemon until it stops, or restores its store and
/// tells what came of that. `demo` sets a [`Stage`], runs what is to be
/// shown on it, and clears up.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    env: Environment<'_>,
    daemon: impl FnOnce(Errand, Places) -> Result<Option<Value>, Failure>,
    demo: impl FnOnce(&Stage, Foreground<'_>) -> Ended,
) -> ExitCode {
    let now = now();
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(ended) = completions::answer(env, &args) {
        return ended;
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let look = Look::of_process(false, false, ColorChoice::Never, true, TimeZone::UTC, now);
            return explain(&error, &mut Output::process(look));
        }
    };
    let global = cli.global;
    let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    let plain = set("NO_COLOR") || env("TERM").is_some_and(|term| term == "dumb");
    let color = if global.no_color { ColorChoice::Never } else { global.color };
    let zone = if global.utc { TimeZone::UTC } else { TimeZone::system() };
    let look = Look::of_process(global.json, global.quiet, color, plain, zone.clone(), now);
    let mut output = Output::process(look.clone());
    let no_color = plain || color == ColorChoice::Never;
    let mut session =
        Session { output: Output::process(look), env, places: global.places, zone, clock: Clock::system(), no_color };
    let command = || match cli.command {
        None if tui::has_terminal(&session) => tui::run(&mut session, &tui::Tui::default()),
        None => output.text(&Cli::command().render_help().to_string()).map(|()| ExitCode::Done),
        Some(Command::Serve) => backup::tell(&mut output, daemon(Errand::Serve, session.places)),
        Some(Command::Restore(backup::Restore { file })) => {
            backup::tell(&mut output, daemon(Errand::Restore(file), session.places))
        }
        // These wait by themselves, outside of any runtime.
        Some(Command::Tui(arguments)) => tui::run(&mut session, &arguments),
        Some(Command::Demo(arguments)) => demo::run(session, &arguments, demo),
        Some(command) => ask(session, command),
    };
    // A panic has said where it was; the code says whose fault it is. Nothing that could be half
    // changed is used afterwards but the output.
    let ended = panic::catch_unwind(AssertUnwindSafe(command)).unwrap_or_else(|_| {
        Err(Failure::new(ExitCode::Internal, "a fault in postrider; please report what it said above"))
    });
    ended.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    })
}

/// Runs a command that is not the daemon.
fn ask(mut session: Session<'_>, command: Command) -> Ended {
    runtime()?.block_on(session.run(command))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(ExitCode::Internal, format!("the runtime cannot start: {error}")))
}

fn now() -> Timestamp {
    Clock::system().now()
}

/// Shows what the parser has to say: help, version or an error.
fn explain(error: &clap::Error, output: &mut Output) -> ExitCode {
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return output.text(&text).map_or_else(|failure| failure.exit, |()| ExitCode::Done);
    }
    output.remark(&text);
    ExitCode::Usage
}

impl Session<'_> {
    async fn run(&mut self, command: Command) -> Ended {
        match command {
            Command::Serve | Command::Restore(_) | Command::Demo(_) => {
                Err(Failure::usage("the daemon is not a command of its client"))
            }
            Command::Tui(arguments) => tui::run(self, &arguments),
            Command::Listen(arguments) => listen::run(self, arguments).await,
            Command::Status(thresholds) => status::run(self, &thresholds).await,
            Command::Doctor(arguments) => doctor::run(self, &arguments).await,
            Command::CheckConfig(arguments) => check_config::run(self, &arguments),
            Command::Webhook(command) => webhook::run(self, command).await,
            Command::Delivery(command) => delivery::run(self, command).await,
            Command::Event(command) => event::run(self, command).await,
            Command::Key(command) => key::run(self, command).await,
            Command::Email(command) => email::run(self, command).await,
            Command::Export(arguments) => transfer::export(self, &arguments).await,
            Command::Import(arguments) => transfer::import(self, &arguments).await,
            Command::Backup(arguments) => backup::run(self, &arguments).await,
            Command::Audit(arguments) => audit::run(self, &arguments).await,
            Command::Verify => verify::run(self).await,
            Command::Completions(arguments) => completions::run(self, &arguments),
            Command::Man(arguments) => man::run(self, &arguments),
        }
    }

    /// A client of the daemon, wherever its socket is.
    async fn client(&mut self) -> Result<Client, Failure> {
        let candidates = self.sockets()?;
        let sudo_user =
            (self.env)("SUDO_USER").and_then(|user| user.into_string().ok()).filter(|user| !user.is_empty());
        Ok(Client::connect(&candidates, &Caller { via: "cli", sudo_user, read_only: false }).await?)
    }

    fn state_dir(&self, config: &Config) -> Option<PathBuf> {
        let is_root = rustix::process::geteuid().is_root();
        let located = paths::state_dir(self.places.state_dir.as_deref(), self.env, config, is_root);
        located.ok().map(|located| located.path)
    }

    /// The configuration, as far as a client needs it: to find the socket and the state.
    ///
    /// A file that was named must be sound. One that merely lies there may be unreadable to this
    /// user, or be broken at the very moment when the daemon has to be asked.
    fn config_for_finding(&mut self) -> Result<Config, Failure> {
        let located = paths::config_file(self.places.config.as_deref(), self.env, &|path| path.exists());
        let Some(located) = located else { return Ok(Config::default()) };
        match Config::load(Some(&located.path)) {
            Ok(config) => Ok(config),
            Err(_) if located.origin == paths::Origin::Default => {
                let shown = located.path.display();
                self.output.note(&format!("{shown} cannot be used to find the daemon; see `postrider check-config`"));
                Ok(Config::default())
            }
            Err(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Err(Failure::new(ExitCode::BadConfig, lines.join("\n"))
                    .advise("correct the file, or leave --config out"))
            }
        }
    }

    /// An instant written on the command line, as the daemon wants it.
    fn instant(&self, text: Option<&str>) -> Result<Option<String>, Failure> {
        text.map(|text| parse::instant(text, self.clock.now(), &self.zone).map_err(Failure::usage)).transpose()
    }

    /// Whether times are shown in UTC.
    fn zone_is_utc(&self) -> bool {
        self.zone == TimeZone::UTC
    }

    /// An environment variable that holds a path.
    fn variable(&self, name: &str) -> Option<PathBuf> {
        (self.env)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }
}

/// The more serious of two ends: the first that is not "done".
fn worse(first: ExitCode, second: ExitCode) -> ExitCode {
    if first == ExitCode::Done { second } else { first }
}

/// Whether a path stands for standard input.
fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}
