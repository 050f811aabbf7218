//! The clap tree, and whole commands without a daemon.

use clap::Parser as _;

use super::output::tests::{Written, look, memory};
use super::*;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("postrider").chain(line.split_whitespace()))
}

#[test]
fn the_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_commands_of_the_manual_parse() {
    let lines = [
        "",
        "serve --config c.toml --state-dir s --socket a.sock",
        "listen --port 0 --key-file f --status 200,503 --delay 5 --retry-after 3 --reset 20% --slow-drip --count 1 --body --json",
        "listen --address 127.0.0.2 --key k --endless-body --quiet",
        "demo --no-ui --seconds 2 --seed 7",
        "status --json",
        "check-config",
        "check-config FILE --quiet --print",
        "configtest FILE",
        "webhook list --deleted --utc",
        "webhook show w --no-color",
        "webhook create --name n --url u --event-type A --event-type B --header X:y --secret-header K:v \
         --secret-header-file f --signing-key-file - --retry-count 3 --retry-interval 90 --inactive --timeout 5s \
         --max-in-flight 4 --backoff exponential",
        "webhook edit w",
        "webhook set w retry.count=3 event_types=A,B",
        "webhook enable w",
        "webhook disable w",
        "webhook pause w",
        "webhook resume w",
        "webhook delete w --yes",
        "webhook restore w",
        "webhook test w --event-type T --payload - --url https://x.example/ --json",
        "webhook clone w x",
        "webhook rotate-key w --signing-key-file - --keep-previous 2d",
        "delivery list --ref R --q text --webhook W --type T --class 0,5xx --code 503 --state failed --since 1h --until 1m --limit 5",
        "delivery list --all --socket a.sock",
        "delivery list --format csv",
        "delivery show dlv_1",
        "delivery show dlv_1 --curl",
        "delivery payload dlv_1",
        "delivery resend dlv_1 dlv_2",
        "delivery cancel dlv_1",
        "delivery resend --ref R --q text --webhook W --type T --class 0,5xx --code 503 --state failed --since 1h \
         --until 1m --all --dry-run --rate 5 --yes",
        "delivery cancel --all --yes",
        "delivery tail --interval 5s --class 5xx",
        "event send T",
        "event send T - --key k --token-file f --url http://127.0.0.1:1",
        "event list --ref r --type t --since 2026-11-23 --limit 3",
        "event list --format json",
        "event show evt_1",
        "event send T --example",
        "event types",
        "event schema T",
        "event example T --json",
        "event define T --label L --group KYC --meaning M --schema f --example -",
        "event undefine T",
        "key list",
        "key create n --type A --type B",
        "key revoke n --yes",
        "delivery list --state skipped",
        "audit",
        "audit --since 1h --until 1m --webhook w --by alice --action webhook.edit --limit 5 --json",
        "verify --json",
    ];
    for line in lines {
        if let Err(error) = parsed(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn typing_errors_are_usage_errors_with_a_hint() {
    for (line, hint) in [
        ("webhok list", "webhook"),
        ("webhook lst", "list"),
        ("delivery list --clas 5xx", "--class"),
        ("delivery list --class 6xx", "5xx"),
        ("delivery list --format xml", "csv"),
        ("delivery resend --rate many", "--rate"),
        ("delivery list --all --limit 3", "cannot be used with"),
        ("webhook rotate-key w", "--signing-key-file"),
        ("delivery tail --interval soon", "1h"),
        ("event send T file.json --example", "cannot be used with"),
    ] {
        let (mut output, out, err) = memory(look());
        let code = explain(&parsed(line).unwrap_err(), &mut output);
        assert_eq!(code, ExitCode::Usage, "{line}");
        assert!(out.text().is_empty() && err.text().contains(hint), "{line}: {}", err.text());
    }
}

#[test]
fn help_and_version_are_data() {
    for (line, words) in [("--help", "Examples:"), ("webhook --help", "rotate-key"), ("--version", "postrider 0.")] {
        let (mut output, out, err) = memory(look());
        assert_eq!(explain(&parsed(line).unwrap_err(), &mut output), ExitCode::Done);
        assert!(out.text().contains(words) && err.text().is_empty(), "{line}: {}", out.text());
    }
    let (mut output, out, _) = memory(look());
    explain(&parsed("delivery list --help").unwrap_err(), &mut output);
    let help = out.text().split_whitespace().collect::<Vec<_>>().join(" ");
    for class in ["0 no response", "2xx success", "3xx redirection", "4xx client error", "5xx server error"] {
        assert!(help.contains(class), "{class}");
    }
    let help = Cli::command().render_help().to_string();
    assert!(help.find("Examples:") < help.find("Usage:"));
}

/// Runs a command against nobody.
fn alone(line: &str) -> (Result<ExitCode, Failure>, Written, Written) {
    let cli = parsed(line).unwrap();
    let (output, out, err) = memory(Look { json: cli.global.json, quiet: cli.global.quiet, ..look() });
    let session = Session {
        output,
        env: &|_| None,
        places: cli.global.places,
        zone: TimeZone::UTC,
        clock: Clock::system(),
        no_color: true,
    };
    let ended = ask(session, cli.command.unwrap());
    (ended, out, err)
}

#[test]
fn a_daemon_that_is_not_there_is_69_with_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    let (ended, out, _) = alone(&format!("status --socket {}", socket.display()));
    let failure = ended.unwrap_err();
    assert_eq!(failure.exit, ExitCode::Unreachable);
    assert!(failure.text.contains("none.sock") && failure.advice.unwrap().contains("postrider serve"));
    assert!(out.text().is_empty());
}

#[test]
fn check_config_names_every_problem_and_ends_with_78() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postrider.toml");
    std::fs::write(&file, "[ingest]\nlisten = \"nowhere\"\nlissten = 1\n").unwrap();
    let (ended, out, err) = alone(&format!("check-config {}", file.display()));
    assert_eq!(ended, Ok(ExitCode::BadConfig));
    assert!(out.text().is_empty());
    assert_eq!(err.text().lines().count(), 2, "{}", err.text());
    let (ended, out, _) = alone(&format!("check-config --json {}", file.display()));
    assert_eq!(ended, Ok(ExitCode::BadConfig));
    for line in out.text().lines() {
        let problem: Value = serde_json::from_str(line).unwrap();
        assert!(problem["line"].as_u64().unwrap() >= 2);
    }
    std::fs::write(&file, "[ingest]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let (ended, out, err) = alone(&format!("check-config --quiet {}", file.display()));
    assert_eq!((ended, out.text().as_str(), err.text().as_str()), (Ok(ExitCode::Done), "", ""));
    let (_, out, _) = alone(&format!("check-config --print --state-dir /s {}", file.display()));
    let text = out.text();
    assert!(text.contains("ingest.listen = \"127.0.0.1:0\"  # "), "{text}");
    assert!(text.contains("state_dir = \"/s\"  # --state-dir"), "{text}");
}

#[test]
fn a_payload_that_is_missing_is_66() {
    let (ended, _, _) = alone("event send T /nonexistent/payload.json");
    assert_eq!(ended.unwrap_err().exit, ExitCode::NoInput);
}

#[test]
fn what_is_built_in_is_known_without_a_daemon() {
    for verb in ["schema", "example"] {
        let (ended, out, err) = alone(&format!("event {verb} identification_cancelled --socket /nonexistent/a.sock"));
        assert_eq!((ended, err.text().as_str()), (Ok(ExitCode::Done), ""));
        let document: Value = serde_json::from_str(&out.text()).unwrap();
        assert!(document.is_object() && out.text().lines().count() > 5, "{verb}");
        let (_, line, _) = alone(&format!("event {verb} ID_VERIFICATION_CANCELED --json"));
        assert_eq!(line.text().lines().count(), 1);
        assert_eq!(serde_json::from_str::<Value>(&line.text()).unwrap(), document, "{verb}");
        let (ended, ..) = alone(&format!("event {verb} ORDER --socket /nonexistent/a.sock"));
        assert_eq!(ended.unwrap_err().exit, ExitCode::Unreachable, "{verb}");
    }
}

#[test]
fn a_schema_that_is_no_json_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schema.json");
    std::fs::write(&file, "{").unwrap();
    let (ended, ..) = alone(&format!("event define ORDER --schema {}", file.display()));
    assert_eq!(ended.unwrap_err().exit, ExitCode::BadData);
}

#[test]
fn the_most_serious_end_is_kept() {
    assert_eq!(worse(ExitCode::Done, ExitCode::No), ExitCode::No);
    assert_eq!(worse(ExitCode::No, ExitCode::Done), ExitCode::No);
}

/// Every line of a shell block in these pages that begins with the program's name.
fn commands_of_pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guides = std::fs::read_dir(root.join("docs/guide")).unwrap().map(|entry| entry.unwrap().path());
    let pages = guides.chain([root.join("README.md"), root.join("SECURITY.md")]);
    let mut found = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap().replace("\\\n", " ");
        let mut block = "";
        for line in text.lines() {
            if let Some(language) = line.strip_prefix("```") {
                block = if block.is_empty() { if language.is_empty() { "text" } else { language } } else { "" };
                continue;
            }
            // What begins with a dollar is typed, the rest of such a block is said.
            let typed = line.trim().strip_prefix("$ ");
            let Some(line) = (if block == "console" { typed } else { Some(line.trim()) }) else { continue };
            let line = line.trim_start_matches("sudo ");
            let line = line.trim_start_matches("-u postrider ");
            if matches!(block, "sh" | "console") && line.starts_with("postrider ") {
                found.push((page.display().to_string(), line.to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_command_in_the_pages_is_one() {
    let commands = commands_of_pages();
    assert!(commands.len() > 40, "{}", commands.len());
    for (page, line) in commands {
        // Up to what the shell would do with it.
        let words = shlex::split(line.split(" | ").next().unwrap()).unwrap_or_else(|| panic!("{page}: {line}"));
        let words = words.into_iter().take_while(|word| !word.starts_with('#') && word != ">" && word != "|");
        if let Err(error) = Cli::try_parse_from(words) {
            assert!(!error.use_stderr(), "{page}: {line}\n{error}");
        }
    }
}
