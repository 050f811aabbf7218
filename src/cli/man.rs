//! `postrider man DIR`: the pages of the manual.
//!
//! What people must be able to rely on (commands, options, keys of the configuration and of the UI, exit codes, calls, fields of
//! the log) comes from the tables that the program itself works by; the prose around it is in `man/*.in`, where a line of the
//! form `@NAME@` is filled in.
//!
//! Invariant: a page that cannot be made whole is not made.

use std::path::PathBuf;

use clap::{Arg, Args, Command, CommandFactory as _};
use roff::{Inline, Roff, bold, italic, roman};
use serde_json::Value;

use super::{Cli, Ended, ExitCode, Failure, Session};
use crate::admin::protocol::OPENAPI;
use crate::config::schema::{SECTIONS, dotted};
use crate::domain::log_fields;
use crate::tui::keymap::{Action, Context, Keymap};

const EXAMPLES: &str = "\
Examples:
  postrider man /usr/local/share/man   writes man1/postrider.1 and the others
  man -M /usr/local/share/man postrider
";

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The directory; man1, man5, man7 and man8 are made in it
    directory: PathBuf,
}

/// The pages: file name and text to be filled in.
const PAGES: [(&str, &str); 5] = [
    ("postrider.1", include_str!("../../man/postrider.1.in")),
    ("postrider-tui.1", include_str!("../../man/postrider-tui.1.in")),
    ("postrider.toml.5", include_str!("../../man/postrider.toml.5.in")),
    ("postrider-api.7", include_str!("../../man/postrider-api.7.in")),
    ("postrider.8", include_str!("../../man/postrider.8.in")),
];

pub(super) fn run(session: &mut Session<'_>, arguments: &Arguments) -> Ended {
    for (file, text) in PAGES {
        let page = filled_in(text)?;
        let folder = arguments.directory.join(format!("man{}", file.rsplit('.').next().unwrap_or("1")));
        let failed = |error: &std::io::Error| {
            Failure::new(ExitCode::CannotCreate, format!("{}: {error}", folder.join(file).display()))
        };
        std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
        std::fs::write(folder.join(file), page).map_err(|error| failed(&error))?;
        session.output.done(&folder.join(file).display().to_string())?;
    }
    Ok(ExitCode::Done)
}

/// A page with every `@NAME@` replaced.
fn filled_in(text: &str) -> Result<String, Failure> {
    let mut page = String::from(".\\\" Made by postrider itself: `postrider man DIR`.\n");
    for line in text.replace("@VERSION@", env!("CARGO_PKG_VERSION")).lines() {
        let part = match line {
            "@EXAMPLES@" => preformatted(super::EXAMPLES),
            "@COMMANDS@" => commands(),
            "@GLOBAL_OPTIONS@" => global_options(),
            "@EXIT_CODES@" => exit_codes(),
            "@KEYS@" => keys(),
            "@BINDINGS@" => bindings(),
            "@INGEST_CALLS@" => calls("ingest")?,
            "@ADMIN_CALLS@" => calls("admin")?,
            "@LOG_FIELDS@" => log_field_list(),
            "@LOG_MESSAGES@" => log_message_list(),
            line if line.starts_with('@') => {
                return Err(Failure::new(ExitCode::Internal, format!("nothing fills in {line}")));
            }
            line => format!("{line}\n"),
        };
        page.push_str(&part);
    }
    Ok(page)
}

/// What is shown as it is, without its first line when that is a heading.
fn preformatted(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| *line != "Examples:").collect();
    let mut page = Roff::new();
    page.control("nf", []);
    for line in lines {
        page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    page.control("fi", []);
    page.to_roff()
}

/// A list of terms and what they mean.
fn list(entries: impl IntoIterator<Item = (Vec<Inline>, Vec<Inline>)>) -> String {
    let mut page = Roff::new();
    for (term, meaning) in entries {
        page.control("TP", []).text(term).text(meaning);
    }
    page.to_roff()
}

fn described(arg: &Arg) -> (Vec<Inline>, Vec<Inline>) {
    let mut term = Vec::new();
    let values: Vec<String> = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let takes = arg.get_action().takes_values();
    if arg.is_positional() {
        let name = values.first().cloned().unwrap_or_else(|| arg.get_id().as_str().to_uppercase());
        term.push(italic(name));
    }
    if let Some(short) = arg.get_short() {
        term.extend([bold(format!("-{short}")), roman(", ")]);
    }
    if let Some(long) = arg.get_long() {
        term.push(bold(format!("--{long}")));
        if takes {
            let name = values.first().cloned().unwrap_or_else(|| arg.get_id().as_str().to_uppercase());
            term.extend([roman(" "), italic(name)]);
        }
    }
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let possible: Vec<String> =
        arg.get_possible_values().iter().filter(|_| takes).map(|value| value.get_name().to_owned()).collect();
    if !possible.is_empty() {
        meaning.push_str(&format!(" [{}]", possible.join(", ")));
    }
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if !defaults.is_empty() && takes {
        meaning.push_str(&format!(" [default: {}]", defaults.join(", ")));
    }
    (term, vec![roman(meaning)])
}

fn own_arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let standard = |arg: &&Arg| {
        !arg.is_global_set() && !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
    };
    command.get_arguments().filter(standard)
}

fn global_options() -> String {
    let cli = Cli::command();
    let globals = cli.get_arguments().filter(|arg| arg.is_global_set());
    let help = (vec![bold("-h"), roman(", "), bold("--help")], vec![roman("Help about the command")]);
    let version = (vec![bold("-V"), roman(", "), bold("--version")], vec![roman("The version")]);
    list(globals.map(described).chain([help, version]))
}

fn commands() -> String {
    let mut page = String::new();
    let mut cli = Cli::command();
    cli.build();
    let visible = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    for command in cli.get_subcommands().filter(visible) {
        let mut heading = Roff::new();
        heading.control("SS", [format!("postrider {}", command.get_name()).as_str()]);
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        heading.text([roman(format!("{about}."))]);
        page.push_str(&heading.to_roff());
        if command.has_subcommands() {
            for inner in command.get_subcommands().filter(visible) {
                page.push_str(&one_command(inner, &format!("postrider {} {}", command.get_name(), inner.get_name())));
            }
        } else {
            page.push_str(&list(own_arguments(command).map(described)));
        }
        if let Some(examples) = command.get_before_help() {
            page.push_str(".PP\n");
            page.push_str(&preformatted(&examples.to_string()));
        }
    }
    page
}

/// One command of a noun, with its options moved in below it.
fn one_command(command: &Command, name: &str) -> String {
    let mut page = Roff::new();
    let mut line = vec![bold(name)];
    for positional in command.get_positionals().filter(|arg| !arg.is_hide_set()) {
        let values = positional.get_value_names().unwrap_or_default();
        let shown = values.first().map_or_else(|| positional.get_id().as_str().to_uppercase(), ToString::to_string);
        line.extend([roman(" "), italic(shown)]);
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    page.control("TP", []).text(line).text([roman(format!("{about}."))]);
    let arguments: Vec<_> = own_arguments(command).map(described).collect();
    if arguments.is_empty() {
        return page.to_roff();
    }
    page.control("RS", []);
    let inner = list(arguments);
    format!("{}{inner}.RE\n", page.to_roff())
}

fn exit_codes() -> String {
    let code = |code: ExitCode| (vec![bold(code.number().to_string())], vec![roman(code.meaning())]);
    list(ExitCode::ALL.into_iter().map(code))
}

fn keys() -> String {
    let mut page = String::new();
    for section in SECTIONS {
        let mut heading = Roff::new();
        let title =
            if section.name.is_empty() { "before any section".to_owned() } else { format!("[{}]", section.name) };
        heading.control("SS", [title.as_str()]);
        if !section.meaning.is_empty() {
            heading.text([roman(section.meaning)]);
        }
        page.push_str(&heading.to_roff());
        page.push_str(&list(section.keys.iter().map(|key| {
            let term = vec![bold(dotted(section.name, key.name)), roman(format!(" = {}", key.default))];
            (term, vec![roman(format!("{} Allowed: {}.", key.meaning, key.kind.allowed()))])
        })));
    }
    page
}

fn bindings() -> String {
    let map = Keymap::default();
    let mut page = String::new();
    for context in Context::ALL {
        let mut heading = Roff::new();
        heading.control("SS", [context.as_str()]);
        page.push_str(&heading.to_roff());
        page.push_str(&list(Keymap::offered(context).map(|action: Action| {
            let keys: Vec<String> = map.keys(context, action).iter().map(ToString::to_string).collect();
            let keys = if keys.is_empty() { format!(":{}", action.name()) } else { keys.join(" ") };
            (vec![bold(keys)], vec![roman(format!("{} ({})", action.help(), action.name()))])
        })));
    }
    page
}

/// The calls that have this tag.
fn calls(tag: &str) -> Result<String, Failure> {
    let document: Value = serde_json::from_str(OPENAPI)
        .map_err(|error| Failure::new(ExitCode::Internal, format!("the description of the calls: {error}")))?;
    let mut entries = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, call) in methods.as_object().into_iter().flatten() {
            if call["tags"][0] == tag {
                let summary = call["summary"].as_str().unwrap_or_default();
                let term = vec![bold(method.to_uppercase()), roman(" "), bold(path.clone())];
                entries.push((term, vec![roman(format!("{summary}."))]));
            }
        }
    }
    Ok(list(entries))
}

fn log_field_list() -> String {
    let field = |(_, name, meaning): &(&str, &str, &str)| (vec![bold(*name)], vec![roman(*meaning)]);
    list(log_fields::FIELDS.iter().map(field))
}

fn log_message_list() -> String {
    let message = |(id, text, _): &(&str, &str, &str)| (vec![bold(*id)], vec![roman(*text)]);
    list(log_fields::MESSAGES.iter().map(message))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn page(file: &str) -> String {
        let (_, text) = PAGES.iter().find(|(name, _)| *name == file).unwrap();
        filled_in(text).unwrap_or_else(|failure| panic!("{}", failure.text))
    }

    /// What a page says without its escapes.
    fn plain(file: &str) -> String {
        page(file)
            .replace("\\-", "-")
            .replace("\\&", "")
            .replace("\\fB", "")
            .replace("\\fI", "")
            .replace("\\fR", "")
            .replace("\\fP", "")
    }

    #[test]
    fn every_command_option_and_exit_code_is_in_the_manual() {
        let text = plain("postrider.1");
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
            assert!(text.contains(&format!("postrider {}", command.get_name())), "{}", command.get_name());
            for inner in command.get_subcommands().filter(|command| command.get_name() != "help") {
                let name = format!("postrider {} {}", command.get_name(), inner.get_name());
                assert!(text.contains(&name), "{name}");
                for long in own_arguments(inner).filter_map(Arg::get_long) {
                    assert!(text.contains(&format!("--{long}")), "{name} --{long}");
                }
            }
        }
        for code in ExitCode::ALL {
            assert!(text.contains(&format!("{}\n{}", code.number(), code.meaning())), "{code:?}");
        }
    }

    #[test]
    fn the_manual_names_no_command_that_there_is_not() {
        let mut cli = Cli::command();
        cli.build();
        let words: BTreeSet<String> = cli
            .get_subcommands()
            .flat_map(|command| {
                command.get_all_aliases().map(str::to_owned).chain([command.get_name().to_owned()]).collect::<Vec<_>>()
            })
            .collect();
        for (file, _) in PAGES {
            for line in plain(file).lines().filter(|line| !line.starts_with(".TH") && !line.starts_with(".\\\"")) {
                // Where it stands for the command, and not at the end of a path.
                let is_command = |before: &str| {
                    before.is_empty() || ["`", ".B ", ".SS ", "\"", "sudo "].iter().any(|sign| before.ends_with(sign))
                };
                let after = line.match_indices("postrider ").filter(|(place, _)| is_command(&line[..*place]));
                let after = after.filter_map(|(place, found)| line[place + found.len()..].split_whitespace().next());
                for word in
                    after.filter(|word| *word != "-" && word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
                {
                    // Prose goes on with small words of its own, and other pages have their sections.
                    let prose = ["takes", "is", "answers", "reads", "man"];
                    assert!(words.contains(word) || prose.contains(&word), "{file}: {line}");
                }
            }
        }
    }

    #[test]
    fn every_key_of_the_configuration_is_there_once() {
        let text = plain("postrider.toml.5");
        for section in SECTIONS {
            for key in section.keys {
                let name = dotted(section.name, key.name);
                let terms = text.lines().filter(|line| line.starts_with(&format!("{name} = {}", key.default)));
                assert_eq!(terms.count(), 1, "{name}");
            }
        }
    }

    #[test]
    fn every_binding_and_call_is_there() {
        let (text, api, daemon) = (plain("postrider-tui.1"), plain("postrider-api.7"), plain("postrider.8"));
        for context in Context::ALL {
            for action in Keymap::offered(context) {
                assert!(text.contains(&format!("({})", action.name())), "{action:?}");
            }
        }
        for call in ["POST /v1/events/{type}", "GET /v1/status", "POST /v1/webhooks", "GET /metrics"] {
            assert!(api.contains(call), "{call}");
        }
        for kind in crate::domain::attempt::ErrorKind::ALL {
            assert!(api.contains(&format!("\n.B {kind}\n")), "{kind}");
        }
        assert!(log_fields::FIELDS.iter().all(|(_, name, _)| daemon.contains(name)));
    }
}
