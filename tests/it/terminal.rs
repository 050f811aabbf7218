//! The terminal UI on a real terminal: every way out gives it back, nothing that is pasted acts, and
//! nothing from outside reaches it raw. What it draws is read by a terminal parser that is not ours.

use rustix::process::Signal;

use crate::rows::covered;
use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, answer};
use crate::support::terminal::{Setup, Terminal};

fn opened(daemon: &Daemon, setup: &Setup<'_>) -> Terminal {
    let terminal = Terminal::ui(daemon, setup);
    terminal.shows("Needs attention");
    terminal.shows("as of");
    terminal
}

/// Where a sequence was last written.
fn last(raw: &[u8], sequence: &str) -> Option<usize> {
    raw.windows(sequence.len()).rposition(|part| part == sequence.as_bytes())
}

/// The alternate screen is left, the cursor shown, pastes are text again; and nothing is drawn after that.
#[track_caller]
fn assert_restored(terminal: &Terminal) {
    for (on, off) in
        [("\u{1b}[?1049h", "\u{1b}[?1049l"), ("\u{1b}[?2004h", "\u{1b}[?2004l"), ("\u{1b}[?25l", "\u{1b}[?25h")]
    {
        terminal.until_written(&format!("{off:?} as the last word"), |raw| last(raw, on) < last(raw, off));
    }
    assert!(terminal.is_cooked(), "the terminal is still raw");
}

#[test]
fn leaving_gives_the_terminal_back() {
    let daemon = Daemon::start("");
    for keys in ["q", "Q", "\u{3}", ":q\r"] {
        let mut terminal = opened(&daemon, &Setup::default());
        for key in keys.bytes() {
            // A command is typed key by key.
            terminal.send(&[key]);
            if key == b':' {
                terminal.shows("Commands");
            }
            if key == b'q' && keys.len() > 1 {
                terminal.until("the q", |screen| screen.contents().contains(":q").then_some(()));
            }
        }
        assert_eq!(terminal.exit(), 0, "{keys:?}");
        assert_restored(&terminal);
    }
}

#[test]
fn signals_give_the_terminal_back_and_are_told_in_the_exit_code() {
    let daemon = Daemon::start("");
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut terminal = opened(&daemon, &Setup::default());
        terminal.signal(signal);
        assert_eq!(terminal.exit(), code);
        assert_restored(&terminal);
    }
    covered(
        &["F45"],
        "signals_give_the_terminal_back_and_are_told_in_the_exit_code",
        "TERM, HUP and INT: terminal restored each time",
    );
}

#[test]
fn suspending_gives_the_terminal_back_and_going_on_takes_it_again() {
    let daemon = Daemon::start("");
    // A shell with jobs: a program that nobody could wake is not put to sleep.
    let script = format!("set -m; {}; echo asleep; read line; fg", ui_command(&daemon));
    let mut terminal = Terminal::start(&["/bin/sh", "-c", &script], daemon.folder.path(), &Setup::default());
    terminal.shows("as of");
    terminal.send(b"\x1a");
    terminal.shows("asleep");
    assert_restored(&terminal);
    terminal.send(b"\n");
    terminal.until("the screen again", |screen| {
        (screen.alternate_screen() && screen.contents().contains("Needs attention")).then_some(())
    });
    terminal.send(b"2");
    terminal.shows("[2 Webhooks]");
    terminal.send(b"Q");
    assert_eq!(terminal.exit(), 0);
    assert_restored(&terminal);
}

#[test]
fn a_terminal_that_is_gone_ends_the_program_even_when_hangups_are_ignored() {
    let daemon = Daemon::start("");
    let script = format!("trap '' HUP; exec {}", ui_command(&daemon));
    let mut terminal = Terminal::start(&["/bin/sh", "-c", &script], daemon.folder.path(), &Setup::default());
    terminal.shows("as of");
    terminal.hang_up();
    terminal.exit();
}

/// Only acts when it is started by the test below, on a terminal of its own.
#[test]
fn a_program_that_panics_on_its_terminal() {
    #[expect(clippy::disallowed_methods, reason = "a test starts itself, and says so")]
    let Ok(fifo) = std::env::var("PANIC_WHEN_READ") else { return };
    std::thread::spawn(move || {
        let _ = std::fs::read(fifo);
        panic!("as it was asked to");
    });
    let surroundings = postrider::tui::settings::Surroundings {
        term: "xterm".to_owned(),
        utf8: true,
        ..postrider::tui::settings::Surroundings::default()
    };
    let ended = postrider::tui::run(postrider::tui::Options {
        sockets: vec!["/nonexistent/admin.sock".into()],
        sudo_user: None,
        read_only: false,
        settings: postrider::tui::settings::Settings::of(&surroundings),
        state_file: None,
        host: "host".to_owned(),
        zone: jiff::tz::TimeZone::UTC,
        editor: "vi".into(),
        pager: "less".into(),
        scratch: "/tmp".into(),
        directory: "/tmp".into(),
        time: None,
        tmux: false,
    });
    assert_eq!(ended.unwrap(), postrider::tui::Ended::Fault);
}

#[test]
fn a_panic_gives_the_terminal_back_and_says_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    let this = std::env::current_exe().unwrap();
    let child = ["--exact", "terminal::a_program_that_panics_on_its_terminal", "--nocapture"];
    let command: Vec<&str> = [this.to_str().unwrap()].into_iter().chain(child).collect();
    let setup = Setup { environment: &[("PANIC_WHEN_READ", fifo.to_str().unwrap())], ..Setup::default() };
    let mut terminal = Terminal::start(&command, folder.path(), &setup);
    terminal.shows("postrider > Overview");
    std::fs::write(&fifo, "now").unwrap();
    assert_eq!(terminal.exit(), 0, "the child's own assertion holds");
    assert_restored(&terminal);
    assert!(String::from_utf8_lossy(&terminal.all()).contains("as it was asked to"));
}

#[test]
fn no_color_leaves_out_colour_and_keeps_what_is_chosen() {
    let daemon = Daemon::start("");
    create(&daemon, "first", "http://127.0.0.1:1/");
    create(&daemon, "second", "http://127.0.0.1:1/");
    for (environment, coloured) in [(&[][..], true), (&[("NO_COLOR", "1")][..], false)] {
        let mut terminal = opened(&daemon, &Setup { environment, ..Setup::default() });
        terminal.send(b"2");
        terminal.shows("> first");
        let row = terminal.until("the chosen row", |screen| {
            (0..24).find(|row| screen.contents_between(*row, 0, *row, 80).starts_with("> first"))
        });
        let reversed = |screen: &vt100::Screen| (1..79).all(|column| screen.cell(row, column).unwrap().inverse());
        terminal.until("reverse video over the whole row", |screen| reversed(screen).then_some(()));
        let colour = |screen: &vt100::Screen| {
            (0..24).any(|row| {
                (0..80).any(|column| {
                    let cell = screen.cell(row, column).unwrap();
                    cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default
                })
            })
        };
        assert_eq!(terminal.until("a picture", |screen| Some(colour(screen))), coloured);
        // An empty sequence resets everything, reverse video among it.
        assert!(coloured || last(&terminal.raw(), "\u{1b}[;m").is_none());
    }
    covered(&["F45"], "no_color_leaves_out_colour_and_keeps_what_is_chosen", "no colour: the chosen row is still seen");
}

#[test]
fn what_is_pasted_never_acts() {
    let daemon = Daemon::start("");
    create(&daemon, "first", "http://127.0.0.1:1/");
    let mut terminal = opened(&daemon, &Setup::default());
    terminal.send(b"2");
    terminal.shows("> first");
    terminal.send(b"\x1b[200~q\nd first\n\x1b[201~");
    terminal.shows("pasted text was ignored");
    // A terminal that does not say what is pasted.
    terminal.send(b"1");
    terminal.shows("Needs attention");
    terminal.send(b"2 q\rd first\r");
    terminal.shows("pasted text was ignored");
    // Into a line it goes, as one line.
    terminal.send(b"2");
    terminal.shows("> first");
    terminal.send(b"/");
    terminal.shows("find:");
    terminal.send(b"\x1b[200~fir\nst\x1b[201~");
    terminal.shows("find: fir st");
    assert!(daemon.admin("GET /v1/webhooks/first", "").json()["active"].as_bool().unwrap());
    terminal.send(b"\x03");
    assert_eq!(terminal.exit(), 0);
}

#[test]
fn nothing_from_outside_reaches_the_terminal_raw() {
    let daemon = Daemon::start("");
    let receiver = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    let hook = serde_json::json!({"name": "bidi \u{202e}evil", "url": receiver.url("/"), "event_types": ["*"],
        "headers": [{"name": "X-Odd", "value": "a\u{85}b"}]});
    daemon.admin("POST /v1/webhooks", &hook.to_string());
    create(&daemon, "plain", &receiver.url("/"));
    let body = r#"{"scanRef":"\u001b]52;c;aGFja2Vk\u0007\u009b2J\u202ex","note":"\u001b]0;owned\u202egnp"}"#;
    let raw = "{\"scanRef\":\"odd\u{202e}ref\u{9b}2J\",\"n\":\"\u{9b}31m\u{202e}\u{2066}\u{7f}\"}";
    for body in [body, raw] {
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", body).status, 202);
    }
    daemon.until("both are delivered", |daemon| {
        let list = daemon.admin("GET /v1/deliveries?webhook=plain&state=delivered", "").json();
        (list["items"].as_array().unwrap().len() == 2).then_some(())
    });
    let mut terminal = opened(&daemon, &Setup { size: (120, 40), ..Setup::default() });
    for (keys, text) in [("2", "plain"), ("3", "SOS_REPORT"), ("\r", "Payload"), ("v", "scanRef"), ("q", "Payload")] {
        terminal.send(keys.as_bytes());
        terminal.shows(text);
    }
    for (key, text) in [
        ("J", "Tab: attempts"),
        ("v", "payload, "),
        ("q", "Tab: attempts"),
        ("q", "(recently sent)"),
        ("4", "[4 Events]"),
    ] {
        terminal.send(key.as_bytes());
        terminal.shows(text);
    }
    terminal.shows("[4 Events]");
    terminal.send(b"Q");
    terminal.exit();
    let written = String::from_utf8(terminal.all()).unwrap();
    for hostile in ["\u{1b}]", "\u{9b}", "\u{202e}", "\u{2066}", "\u{7f}", "\u{85}"] {
        assert!(!written.contains(hostile), "{hostile:?} reached the terminal");
    }
    covered(
        &["T6"],
        "nothing_from_outside_reaches_the_terminal_raw",
        "0 hostile characters in all bytes written to the terminal",
    );
}

#[test]
fn a_daemon_that_goes_and_comes_back_is_noticed() {
    let mut daemon = Daemon::start("");
    let mut terminal = opened(&daemon, &Setup::default());
    daemon.stop();
    terminal.shows("NOT CONNECTED");
    terminal.send(b"2");
    terminal.shows("[2 Webhooks]");
    daemon.start_again();
    terminal.hides("NOT CONNECTED");
    terminal.send(b"Q");
    assert_eq!(terminal.exit(), 0);
}

#[test]
fn an_edit_outlives_a_restart_of_the_daemon_and_other_sizes() {
    let mut daemon = Daemon::start("");
    let mut terminal = opened(&daemon, &Setup::default());
    terminal.send(b"2");
    terminal.shows("no webhooks yet");
    terminal.send(b"n");
    terminal.shows("new webhook");
    terminal.type_text("half-typed");
    terminal.shows("half-typed");
    daemon.stop();
    terminal.shows("NOT CONNECTED");
    terminal.resize(60, 12);
    terminal.until("the small form", |screen| {
        let text = screen.contents();
        (text.contains("half-typed") && !text.contains("postrider >")).then_some(())
    });
    terminal.resize(40, 8);
    terminal.shows("need 60x12, have 40x8");
    terminal.resize(80, 24);
    terminal.shows("half-typed");
    daemon.start_again();
    terminal.hides("NOT CONNECTED");
    terminal.type_text("!");
    terminal.shows("half-typed!");
    // Leaving asks.
    terminal.send(b"\x03");
    terminal.shows("not saved");
    terminal.send(b"y");
    assert_eq!(terminal.exit(), 0);
    assert_restored(&terminal);
}

#[test]
fn an_editor_has_the_terminal_to_itself() {
    let daemon = Daemon::start("");
    create(&daemon, "first", "http://127.0.0.1:1/");
    let script = daemon.folder.path().join("editor");
    // It shows itself, waits for a line, and changes one value.
    std::fs::write(
        &script,
        "#!/bin/sh\necho editing; read line; sed -i 's/^timeout_seconds.*/timeout_seconds = 7/' \"$1\"\n",
    )
    .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let editor = script.to_str().unwrap();
    let mut terminal = opened(&daemon, &Setup { environment: &[("EDITOR", editor)], ..Setup::default() });
    terminal.send(b"2");
    terminal.shows("> first");
    terminal.send(b"e");
    terminal.shows("editing");
    assert_restored(&terminal);
    terminal.send(b"go on\n");
    terminal.until("the UI again", |screen| {
        (screen.alternate_screen() && screen.contents().contains("> first")).then_some(())
    });
    daemon.until("the change", |daemon| {
        let hook = daemon.admin("GET /v1/webhooks/first", "").json();
        (hook["timeout_seconds"] == 7).then_some(())
    });
    // Until then a dialog holds the text, in case that it is refused.
    terminal.shows("first saved");
    terminal.send(b"Q");
    assert_eq!(terminal.exit(), 0);
}

#[test]
fn read_only_is_held_by_the_daemon() {
    let daemon = Daemon::start("");
    create(&daemon, "first", "http://127.0.0.1:1/");
    let mut terminal = opened(&daemon, &Setup { arguments: &["--read-only"], ..Setup::default() });
    terminal.shows("READ-ONLY");
    terminal.send(b"2");
    terminal.shows("> first");
    terminal.send(b" ");
    terminal.shows("read-only");
    assert!(daemon.admin("GET /v1/webhooks/first", "").json()["active"].as_bool().unwrap());
    terminal.send(b"Q");
    assert_eq!(terminal.exit(), 0);
}

#[test]
fn settings_with_mistakes_are_named_and_open_nothing() {
    let daemon = Daemon::start("");
    let folder = daemon.folder.path().join(".config/postrider");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("tui.toml");
    std::fs::write(&file, "theme = \"pink\"\n[keys.deliveries]\nr = \"explode\"\n").unwrap();
    let mut terminal = Terminal::ui(&daemon, &Setup::default());
    assert_eq!(terminal.exit(), 78);
    let output = daemon.cli(&["check-config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("pink") && told.contains("explode") && told.contains("tui.toml"), "{told}");
    // Another key for an action is taken over, and told in the hints.
    std::fs::write(&file, "[keys.deliveries]\nz = \"filter\"\n").unwrap();
    assert_eq!(daemon.cli(&["check-config", file.to_str().unwrap()]).status.code(), Some(0));
    let mut terminal = opened(&daemon, &Setup::default());
    terminal.send(b"3");
    terminal.shows("z:filter");
    terminal.send(b"z");
    terminal.shows("Filter deliveries");
    terminal.send(b"\x03");
    assert_eq!(terminal.exit(), 0);
}

#[test]
fn where_there_is_no_terminal_nothing_is_drawn() {
    let daemon = Daemon::start("");
    let output = daemon.cli(&["tui"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("postrider status"));
    // Alone and into a pipe, it is help.
    let output = daemon.cli(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Usage:"));
    for term in ["dumb", ""] {
        let setup = Setup { environment: &[("TERM", term)], ..Setup::default() };
        let mut terminal = Terminal::ui(&daemon, &setup);
        assert_eq!(terminal.exit(), 64);
        assert!(!String::from_utf8_lossy(&terminal.all()).contains("\u{1b}[?1049h"));
    }
}

#[test]
fn few_bytes_are_written() {
    let daemon = Daemon::start("");
    for number in 0..40 {
        create(&daemon, &format!("webhook-{number:02}"), "http://127.0.0.1:1/");
    }
    for (size, first, row, page) in [((80, 24), 6_000, 600, 3_000), ((120, 40), 12_000, 600, 6_000)] {
        let mut terminal = Terminal::ui(&daemon, &Setup { size, ..Setup::default() });
        terminal.shows("as of");
        let picture = terminal.raw().len();
        assert!(picture <= first, "{picture} bytes until the first picture");
        terminal.send(b"2");
        terminal.shows("> webhook-00");
        terminal.shows("last hour");
        let steps = [("j", "> webhook-00", row), ("\u{4}", "> webhook-01", page)];
        for (key, before_it, most) in steps {
            let before = terminal.raw().len();
            terminal.send(key.as_bytes());
            terminal.hides(before_it);
            // What a frame ends with.
            terminal.until_written("the whole frame", |raw| raw.ends_with(b"\x1b[?2026l"));
            let written = terminal.raw().len() - before;
            assert!(written <= most, "{written} bytes for {key:?} at {size:?}");
        }
    }
}

#[test]
fn commands_of_the_palette_come_to_something() {
    let daemon = Daemon::start("");
    create(&daemon, "first", "http://127.0.0.1:1/");
    daemon.admin("POST /v1/webhooks/first/pause", "");
    for reference in ["one", "two"] {
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", &format!("{{\"scanRef\":\"{reference}\"}}")).status, 202);
    }
    let environment = [("NO_COLOR", "1"), ("TZ", "EST5")];
    let setup = Setup { size: (120, 40), environment: &environment, ..Setup::default() };
    let mut terminal = opened(&daemon, &setup);
    let command = |terminal: &mut Terminal, text: &str, then: &str| {
        terminal.send(b":");
        terminal.shows("Commands");
        terminal.type_text(text);
        terminal.send(b"\r");
        terminal.shows(then);
    };
    command(&mut terminal, "jobs", "nothing was resent or stopped in bulk");
    command(&mut terminal, "theme dark", "there is only the theme mono");
    command(&mut terminal, "tz local", "times are shown in EST");
    command(&mut terminal, "tz utc", "times are shown in UTC");
    daemon.admin("POST /v1/cancel", "{\"filter\":{\"ref\":\"one\"}}");
    command(&mut terminal, "jobs", "Jobs since the daemon started");
    terminal.send(b"\x1b");
    terminal.hides("Jobs since the daemon started");
    for (tab, file, shown) in [("3", "deliveries.jsonl", "one"), ("4", "events.jsonl", "SOS_REPORT")] {
        terminal.send(tab.as_bytes());
        terminal.shows(shown);
        terminal.send(b"e");
        terminal.shows("write to file:");
        terminal.send(b"\r");
        terminal.shows("2 lines written to");
        terminal.shows(&format!("/{file}"));
        let written = std::fs::read_to_string(daemon.folder.path().join(file)).unwrap();
        let rows: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().any(|row| row["references"][0] == "two"), "{written}");
        terminal.send(b"1");
        terminal.shows("Needs attention");
    }
    terminal.send(b"Q");
    terminal.exit();
}

/// What a shell runs.
fn ui_command(daemon: &Daemon) -> String {
    let state = daemon.folder.path().join("state");
    format!("{} --state-dir {} tui", env!("CARGO_BIN_EXE_postrider"), state.display())
}

fn create(daemon: &Daemon, name: &str, url: &str) {
    let hook = serde_json::json!({"name": name, "url": url, "event_types": ["*"]});
    assert_eq!(daemon.admin("POST /v1/webhooks", &hook.to_string()).status, 201);
}
