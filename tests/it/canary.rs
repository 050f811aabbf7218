//! Secrets, and what receivers answer, are planted with marks, every kind of failure is forced at
//! trace level, and then the marks are looked for everywhere: files, logs, answers, the process.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};

use crate::mail::sink;
use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, answer};

/// What operators enter. Each holds characters that every encoding changes.
const SIGNING: &str = "cnry/sign+5d1c7e";
const HEADER: &str = "cnry/head+9a40b2";
const TOKEN: &str = "cnry/auth+c31f08";
const REQUEST: &str = "cnry/form+77e6d1";
const ROTATED: &str = "cnry/rotd+41b9aa";
/// The access token that the authorization server gives out.
const ACCESS: &str = "cnry/accs+e0257f";
const SECRETS: [&str; 6] = [SIGNING, HEADER, TOKEN, REQUEST, ROTATED, ACCESS];

/// What receivers and authorization servers say.
const ANSWERS: [&str; 2] = ["cnry/body+18d3c6", "cnry/resp+b27f94"];

const PAYLOAD: &str = r#"{"scanRef":"one"}"#;

/// A mark in every form in which it might lie about.
fn forms(mark: &str) -> Vec<Vec<u8>> {
    let hex = data_encoding::HEXLOWER.encode(mark.as_bytes());
    let mut percent = String::new();
    url::form_urlencoded::byte_serialize(mark.as_bytes()).for_each(|part| percent.push_str(part));
    let mut all = vec![mark.to_owned(), hex.to_ascii_uppercase(), hex, percent];
    // Within a longer text it may begin at any of the three places of a group.
    for before in 0..3 {
        let shifted = STANDARD_NO_PAD.encode([&b"   "[..before], mark.as_bytes()].concat());
        let whole = &shifted[(before * 4).div_ceil(3)..shifted.len() - 2];
        all.push(whole.to_owned());
        all.push(whole.replace('+', "-").replace('/', "_"));
    }
    all.push(mark.replace('/', "\\/"));
    all.into_iter().map(String::into_bytes).collect()
}

struct Search {
    needles: Vec<(String, Vec<u8>)>,
    looked_at: usize,
}

impl Search {
    fn new(marks: &[&str]) -> Self {
        let needles = marks.iter().flat_map(|mark| forms(mark).into_iter().map(|form| ((*mark).to_owned(), form)));
        Self { needles: needles.collect(), looked_at: 0 }
    }

    fn bytes(&mut self, place: &str, bytes: &[u8]) {
        self.looked_at += 1;
        for (mark, form) in &self.needles {
            let found = bytes.windows(form.len()).position(|window| window == form);
            if let Some(at) = found {
                let around = &bytes[at.saturating_sub(80)..(at + form.len() + 40).min(bytes.len())];
                panic!("{mark} is in {place}: …{}…", String::from_utf8_lossy(around));
            }
        }
    }

    fn folder(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => self.folder(&path),
                kind if kind.is_file() => self.bytes(&path.display().to_string(), &std::fs::read(&path).unwrap()),
                _ => {}
            }
        }
    }
}

/// Receivers that answer in every way there is, each with marks in whatever they say.
fn receivers() -> Vec<(&'static str, Receiver)> {
    let [body, header] = ANSWERS;
    let said = move |status: &str| {
        answer(status, &[&format!("X-Said: {header}"), &format!("Location: http://x/{header}")], body)
    };
    let always = |status: &'static str| {
        let bytes = said(status);
        Receiver::start(Box::new(move |_| Some(bytes.clone())))
    };
    let named = |reason: &str| said(reason);
    let reason = named(&format!("500 {header}"));
    vec![
        ("ok", always("200 OK")),
        ("redirect", always("302 Found")),
        ("unauthorized", always("401 Unauthorized")),
        ("gone", always("410 Gone")),
        ("broken", always("500 Internal Server Error")),
        ("phrase", Receiver::start(Box::new(move |_| Some(reason.clone())))),
        ("garbage", Receiver::start(Box::new(move |_| Some(format!("{header}\r\n{body}\r\n\r\n").into_bytes())))),
        ("hangs up", Receiver::start(Box::new(|_| None))),
        (
            "hangs",
            Receiver::start(Box::new(|_| {
                // Longer than the webhook's patience; the answer then meets nobody.
                std::thread::park_timeout(std::time::Duration::from_secs(5));
                None
            })),
        ),
    ]
}

fn webhook(name: &str, url: &str, oauth: Option<&str>) -> Value {
    let header = json!({"name": "X-Key", "value": HEADER, "secret": true});
    let mut document = json!({
        "name": name, "url": url, "event_types": ["*"], "timeout_seconds": 1, "signing_key": SIGNING,
        "headers": [header], "retry": {"count": 0, "interval_seconds": 1},
        "failure_email": {"to": ["ops@example.com"], "include_body": true},
    });
    if let Some(endpoint) = oauth {
        document["oauth"] = json!({"endpoint": endpoint, "token": TOKEN, "request": format!("secret={REQUEST}")});
    }
    document
}

fn save(daemon: &Daemon, document: &Value) {
    let answer = daemon.admin("POST /v1/webhooks", &document.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[test]
fn no_secret_and_nothing_a_receiver_says_is_kept_or_shown() {
    let (port, mails) = sink();
    let daemon = Daemon::start(&format!(
        "[log]\nlevel = \"trace\"\n[email]\nsmtp = \"smtp://127.0.0.1:{port}\"\nfrom = \"p@example.org\"\n"
    ));
    let receivers = receivers();
    let tokens = Receiver::start(Box::new(|_| {
        let [body, header] = ANSWERS;
        let text = json!({"access_token": ACCESS, "expires_in": 600, "note": body}).to_string();
        Some(answer("200 OK", &["Content-Type: application/json", &format!("X-Said: {header}")], &text))
    }));
    let no_tokens = Receiver::start(Box::new(|_| {
        Some(answer("400 Bad Request", &[], &format!("{{\"error\":\"{}\"}}", ANSWERS[0])))
    }));
    for (name, receiver) in &receivers {
        save(&daemon, &webhook(name, &receiver.url("/hook"), Some(&tokens.url("/token"))));
    }
    save(&daemon, &webhook("no token", &receivers[0].1.url("/"), Some(&no_tokens.url("/token"))));
    save(&daemon, &webhook("refused", "http://127.0.0.1:9/", None));
    save(&daemon, &webhook("no name", "http://no-such-name.invalid/", None));
    save(&daemon, &webhook("no tls", &receivers[0].1.url("/").replace("http:", "https:"), None));
    let rotated = json!({"signing_key": ROTATED}).to_string();
    assert_eq!(daemon.admin("POST /v1/webhooks/ok/rotate-key", &rotated).status, 200);

    assert_eq!(daemon.post("/v1/events/SOS_REPORT", PAYLOAD).status, 202);
    let count = receivers.len() + 4;
    let ids = daemon.until("every delivery has ended", |daemon| {
        let items = daemon.admin("GET /v1/deliveries?limit=100", "").json()["items"].take();
        let items = items.as_array()?.clone();
        let ended = items.iter().filter(|one| one["state"] != "pending").count();
        // The one that answered 410 is paused, and failed before that.
        (ended == count).then(|| items.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    });
    let sent = receivers[0].1.received(1);
    assert_eq!(sent[0].body, PAYLOAD.as_bytes());
    assert_eq!(sent[0].header("x-key"), Some(HEADER), "the receiver does get it");
    assert_eq!(sent[0].header("authorization"), Some(format!("Bearer {ACCESS}").as_str()));

    // One for each webhook but the one that succeeded.
    daemon.until("every mail", |_| (mails.lock().unwrap().len() == count - 1).then_some(()));

    let marks: Vec<&str> = SECRETS.iter().chain(&ANSWERS).copied().collect();
    let mut search = Search::new(&marks);
    shown(&daemon, &ids, &mut search);
    for part in ["cmdline", "environ"] {
        search.bytes(part, &std::fs::read(format!("/proc/{}/{part}", daemon.pid())).unwrap());
    }
    for mail in mails.lock().unwrap().iter() {
        search.bytes("a mail", mail.as_bytes());
    }
    let mut daemon = daemon;
    assert_eq!(daemon.stop(), 0);
    search.folder(daemon.folder.path());
    assert!(search.looked_at > 50, "{} places are too few to mean anything", search.looked_at);
    let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap();
    assert!(log.contains(" DEBUG "), "the log was not at its most talkative");
}

/// Everything that operators can be shown.
fn shown(daemon: &Daemon, deliveries: &[String], search: &mut Search) {
    let mut calls: Vec<String> = [
        "status",
        "webhooks",
        "webhooks/ok",
        "deliveries",
        "events",
        "event-types",
        "keys",
        "export",
        "audit?limit=200",
    ]
    .map(|path| format!("GET /v1/{path}"))
    .into();
    calls.extend(deliveries.iter().map(|id| format!("GET /v1/deliveries/{id}")));
    calls.push("POST /v1/webhooks/ok/test".to_owned());
    calls.push("POST /v1/webhooks/phrase/test".to_owned());
    for call in &calls {
        let answer = daemon.admin(call, "");
        assert_eq!(answer.status, 200, "{call}: {answer:?}");
        search.bytes(call, format!("{}{}", answer.head, answer.body).as_bytes());
    }
    // What was sent comes back in a refusal only masked.
    let stale = json!({"version": 99, "signing_key": SIGNING, "oauth": {"token": TOKEN}}).to_string();
    let conflict = daemon.admin("PATCH /v1/webhooks/ok", &stale);
    assert_eq!(conflict.status, 409);
    search.bytes("a conflict", conflict.body.as_bytes());
    let id = deliveries[0].as_str();
    let commands: &[&[&str]] = &[
        &["webhook", "list"],
        &["webhook", "show", "ok"],
        &["webhook", "test", "broken"],
        &["delivery", "list"],
        &["delivery", "show", id],
        &["delivery", "show", id, "--curl"],
        &["delivery", "list", "--format", "csv"],
        &["export"],
        &["audit"],
        &["status"],
    ];
    for command in commands {
        let output = daemon.cli(command);
        assert!(output.status.code().is_some_and(|code| code <= 1), "{command:?}: {output:?}");
        search.bytes(&format!("{command:?}"), &[output.stdout, output.stderr].concat());
    }
}

#[test]
fn the_search_finds_every_form() {
    let mark = SECRETS[0];
    for (place, form) in forms(mark).into_iter().enumerate() {
        let found =
            std::panic::catch_unwind(|| Search::new(&[mark]).bytes("here", &[b"xx", &form[..], b"yy"].concat()));
        assert!(found.is_err(), "form {place} was overlooked");
    }
    let encoded = STANDARD_NO_PAD.encode(format!("some text before {mark} and after"));
    assert!(std::panic::catch_unwind(|| Search::new(&[mark]).bytes("here", encoded.as_bytes())).is_err());
    Search::new(&[mark]).bytes("here", b"nothing to see");
}
