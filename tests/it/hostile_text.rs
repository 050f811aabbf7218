//! Text that steers terminals, in everything that others may name or send: none of it comes out raw, in whatever way it is
//! looked at. What is looked at is the bytes that were written, with nothing in between.

use postrider::domain::text::misleads;
use serde_json::{Value, json};

use crate::rows::covered;
use crate::support::daemon::Daemon;
use crate::support::mail_server::sink;
use crate::support::receiver::{Receiver, answer};
use crate::support::terminal::{Setup, Terminal};

/// Sequences that terminals, pagers, mail programs and spreadsheets act on.
const SEQUENCES: [&str; 46] = [
    "\u{1b}]0;owned\u{7}",
    "\u{1b}]2;owned\u{1b}\\",
    "\u{1b}]8;;http://evil.example\u{7}x\u{1b}]8;;\u{7}",
    "\u{1b}]52;c;aGFja2Vk\u{7}",
    "\u{1b}]4;1;?\u{7}",
    "\u{1b}]10;?\u{7}",
    "\u{1b}]50;?\u{7}",
    "\u{1b}]777;notify;a;b\u{7}",
    "\u{1b}]1337;File=:AA==\u{7}",
    "\u{1b}[2J",
    "\u{1b}[H",
    "\u{1b}[31m",
    "\u{1b}[6n",
    "\u{1b}[c",
    "\u{1b}[21t",
    "\u{1b}[?1049h",
    "\u{1b}[?2004l",
    "\u{1b}[200~",
    "\u{1b}[201~",
    "\u{1b}[4h",
    "\u{1b}[1000A",
    "\u{1b}P$q\"p\u{1b}\\",
    "\u{1b}P+q544e\u{1b}\\",
    "\u{1b}_Gi=1;AA\u{1b}\\",
    "\u{1b}^private\u{1b}\\",
    "\u{1b}Xstring\u{1b}\\",
    "\u{1b}c",
    "\u{1b}#8",
    "\u{1b}(0",
    "\u{1b}7\u{1b}8",
    "\u{9b}2J",
    "\u{9d}0;owned\u{9c}",
    "\u{90}$q\u{9c}",
    "\u{202e}gnp.exe",
    "\u{202a}\u{202b}\u{202c}\u{202d}",
    "\u{2066}\u{2067}\u{2068}\u{2069}",
    "\u{200e}\u{200f}\u{61c}",
    "\u{200b}\u{200c}\u{200d}",
    "\u{2060}\u{2061}\u{2064}",
    "\u{feff}",
    "\u{ad}\u{180e}",
    "\u{e0001}\u{e0041}\u{e007f}",
    "\u{fff9}\u{fffb}",
    "\u{2028}\u{2029}",
    "over\rwritten",
    "line\r\nTo: evil@example.com\r\n\r\n.\r\n",
];

fn hostile() -> Vec<String> {
    let controls = (0..=0x9f).filter_map(char::from_u32).filter(|c| c.is_control()).map(|c| format!("a{c}b"));
    let all: Vec<String> = controls.chain(SEQUENCES.map(str::to_owned)).collect();
    assert_eq!(all.len(), 65 + SEQUENCES.len());
    all
}

/// Nothing but line ends steers in what was written.
#[track_caller]
fn assert_clean(place: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{place}: {error}"));
    let text = text.replace("\r\n", "\n");
    if let Some((at, found)) = text.char_indices().find(|(_, c)| misleads(*c) && *c != '\n') {
        let around: String = text[..at].chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
        panic!("{place}: {found:?} after {around:?}");
    }
}

/// Names everything there is to name with these texts; gives how often that was taken.
fn plant(daemon: &Daemon, texts: &[String]) -> usize {
    let mut taken = 0;
    for (number, text) in texts.iter().enumerate() {
        let hook = json!({
            "name": format!("{number} {text}"), "url": format!("http://127.0.0.1:9/{text}?q={text}"),
            "event_types": ["SOS_REPORT", format!("OWN {text}")], "active": false,
            "headers": [{"name": format!("X-{text}"), "value": text}],
        });
        let plain = json!({"name": format!("{number} {text}"), "url": "http://127.0.0.1:9/", "event_types": ["*"],
            "headers": [{"name": "X-A", "value": text}], "active": false});
        let label = json!({"label": format!("OWN {text}"), "wire_name": text, "meaning": text});
        let calls = [
            ("POST /v1/webhooks".to_owned(), hook),
            ("POST /v1/webhooks".to_owned(), plain),
            (format!("PUT /v1/event-types/OWN_{number}"), label),
            ("POST /v1/keys".to_owned(), json!({"name": format!("app {text}")})),
        ];
        for (call, body) in calls {
            let answer = daemon.admin(&call, &body.to_string());
            taken += usize::from(answer.status < 300);
            assert_controls_escaped(&call, &answer.body);
        }
        // As JSON escapes it, and as it is where JSON lets it.
        let payload = json!({"scanRef": format!("{number}{text}"), "clientId": text, "note": text});
        let envelope =
            json!({"type": "SOS_REPORT", "payload": payload, "references": [text], "id": format!("{number}{text}")});
        for answer in [
            daemon.post("/v1/events/SOS_REPORT", &payload.to_string()),
            daemon.post("/v1/events", &envelope.to_string()),
            daemon.post("/v1/events", &json!({"type": text, "payload": {}}).to_string()),
        ] {
            taken += usize::from(answer.status == 202);
            assert_controls_escaped("ingest", &answer.body);
        }
    }
    taken
}

/// JSON for programs: no control character, which no JSON needs raw.
#[track_caller]
fn assert_controls_escaped(place: &str, body: &str) {
    let found = body.trim_end().chars().find(|c| c.is_control());
    assert_eq!(found, None, "{place}: {body:?}");
}

fn shown_by_the_command_line(daemon: &Daemon) -> usize {
    let list = daemon.admin("GET /v1/deliveries?limit=500", "").json();
    let webhooks = daemon.admin("GET /v1/webhooks", "").json();
    let first = |list: &Value| list["items"][0]["id"].as_str().unwrap_or_default().to_owned();
    let (delivery, event) = (first(&list), list["items"][0]["event_id"].as_str().unwrap_or_default().to_owned());
    let hooks: Vec<String> =
        webhooks["items"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["webhook", "list"],
        vec!["delivery", "list", "--all"],
        vec!["delivery", "list", "--all", "--format", "csv"],
        vec!["delivery", "show", &delivery],
        vec!["delivery", "show", &delivery, "--curl"],
        vec!["event", "list"],
        vec!["event", "list", "--format", "csv"],
        vec!["event", "show", &event],
        vec!["event", "types"],
        vec!["key", "list"],
        vec!["audit"],
        vec!["status"],
        vec!["export"],
    ];
    // Each name is in the lists; of single ones a few are enough.
    commands
        .extend(hooks.iter().step_by(hooks.len().div_ceil(12).max(1)).map(|id| vec!["webhook", "show", id.as_str()]));
    let wrong = ["\u{1b}]0;x\u{7}", "a\u{202e}b", "a\u{9b}b\rc"];
    for text in wrong {
        commands.push(vec!["webhook", "show", text]);
        commands.push(vec!["delivery", "show", text]);
        commands.push(vec!["event", "example", text]);
        commands.push(vec!["delivery", "list", "--ref", text]);
        commands.push(vec!["webhook", "set", text, text]);
        commands.push(vec!["key", "create", text]);
        commands.push(vec![text]);
        commands.push(vec!["delivery", "list", "--state", text]);
    }
    let mut looked_at = 0;
    for command in &commands {
        for json in [false, true] {
            let whole: Vec<&str> = command.iter().copied().chain(json.then_some("--json")).collect();
            let output = daemon.cli(&whole);
            assert_clean(&format!("{whole:?}, data"), &output.stdout);
            assert_clean(&format!("{whole:?}, messages"), &output.stderr);
            looked_at += 2;
        }
    }
    looked_at
}

fn shown_by_the_terminal_ui(daemon: &Daemon) -> usize {
    let mut terminal = Terminal::ui(daemon, &Setup { size: (120, 40), ..Setup::default() });
    terminal.shows("as of");
    for (keys, text) in
        [("2", "[2 Webhooks]"), ("3", "SOS_REPORT"), ("\r", "Payload"), ("v", "scanRef"), ("q", "Payload")]
    {
        terminal.send(keys.as_bytes());
        terminal.shows(text);
    }
    for (keys, text) in [("q", "(recently sent)"), ("4", "[4 Events]"), ("\u{4}", "[4 Events]")] {
        terminal.send(keys.as_bytes());
        terminal.shows(text);
    }
    terminal.send(b"Q");
    terminal.exit();
    let written = String::from_utf8(terminal.all()).unwrap();
    // What the program itself writes: CSI sequences, and nothing else with an escape in it.
    let own = regex::Regex::new("\u{1b}\\[[0-9;:?<>=]*[A-Za-z]|\u{1b}[78=>]").unwrap();
    let rest = own.replace_all(&written, "").replace(['\r', '\u{8}'], "");
    if let Some((at, found)) = rest.char_indices().find(|(_, c)| misleads(*c) && *c != '\n') {
        panic!("the UI wrote {found:?} after {:?}", &rest[rest.floor_char_boundary(at.saturating_sub(60))..at]);
    }
    written.len()
}

#[test]
fn no_hostile_text_comes_out_raw_anywhere() {
    let (port, mails) = sink();
    let daemon = Daemon::start(&format!(
        "[log]\nlevel = \"trace\"\nformat = \"text\"\n[email]\nsmtp = \"smtp://127.0.0.1:{port}\"\nfrom = \"p@example.org\"\n\
         [delivery]\nretry_count = 0\n[ingest]\nlisten = \"127.0.0.1:0\"\nunknown_types = \"accept\"\nschema = \"warn\"\n"
    ));
    let receiver = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    let taking = json!({"name": "taking", "url": receiver.url("/"), "event_types": ["*"], "max_in_flight": 64});
    let failing = json!({"name": "failing", "url": "http://127.0.0.1:9/", "event_types": ["AML_MONITORING"],
        "retry": {"count": 0, "interval_seconds": 1}, "failure_email": {"to": ["ops@example.com"]}});
    for hook in [taking, failing] {
        assert_eq!(daemon.admin("POST /v1/webhooks", &hook.to_string()).status, 201);
    }
    let texts = hostile();
    let taken = plant(&daemon, &texts);
    assert!(taken >= 2 * texts.len(), "only {taken} were taken: that tells little");
    for text in ["\u{1b}]0;x\u{7}", "a\u{202e}b", "a\u{9b}b\rc\r\nBcc: evil@example.com\r\n\r\n.\r\n"] {
        let payload = json!({"scanRef": text, "note": text});
        assert_eq!(daemon.post("/v1/events/AML_MONITORING", &payload.to_string()).status, 202);
    }
    daemon.until("all ended", |daemon| (daemon.admin("GET /v1/status", "").json()["pending"] == 0).then_some(()));
    let looked_at = shown_by_the_command_line(&daemon);
    let written = shown_by_the_terminal_ui(&daemon);
    daemon.until("a mail", |_| (!mails.lock().unwrap().is_empty()).then_some(()));
    let mut daemon = daemon;
    assert_eq!(daemon.stop(), 0);
    let mails = mails.lock().unwrap();
    for mail in mails.iter() {
        assert!(mail.is_ascii(), "{mail:?}");
        assert_clean("a mail as it travels", mail.replace('\t', " ").as_bytes());
        let parsed = mail_parser::MessageParser::default().parse(mail.as_bytes()).unwrap();
        assert_clean("a mail's text", parsed.body_text(0).unwrap().as_bytes());
        assert_clean("a mail's subject", parsed.subject().unwrap().as_bytes());
        assert_eq!(parsed.to().unwrap().clone().into_list().len(), 1);
    }
    let log = std::fs::read(daemon.folder.path().join("log")).unwrap();
    assert_clean("the log", &log);
    let lines = log.split(|byte| *byte == b'\n').count();
    covered(
        &["T6", "T15"],
        "no_hostile_text_comes_out_raw_anywhere",
        format!(
            "{} texts (65 controls, {} sequences) in names, URLs, headers, labels and payloads, {taken} taken: 0 raw in \
             {looked_at} outputs of the command line, {written} bytes of the UI, {lines} lines of log, {} mails",
            texts.len(),
            SEQUENCES.len(),
            mails.len()
        ),
    );
}
