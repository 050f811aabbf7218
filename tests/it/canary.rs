//! Secrets, and what receivers answer, are planted with marks, every kind of failure is forced at
//! trace level, and then the marks are looked for everywhere: files, logs, answers, the process.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use postrider::domain::attempt::ErrorKind;
use serde_json::{Value, json};

use crate::rows::covered;
use crate::support::daemon::Daemon;
use crate::support::mail_server::sink_behind;
use crate::support::receiver::{Receiver, answer};

/// What operators enter. Each holds characters that every encoding changes.
const SIGNING: &str = "cnry/sign+5d1c7e";
const HEADER: &str = "cnry/head+9a40b2";
const TOKEN: &str = "cnry/auth+c31f08";
const REQUEST: &str = "cnry/form+77e6d1";
const ROTATED: &str = "cnry/rotd+41b9aa";
/// The access token that the authorization server gives out.
const ACCESS: &str = "cnry/accs+e0257f";
/// What the mail server wants to hear.
const MAIL: &str = "cnry/mail+92f3d0";
const SECRETS: [&str; 7] = [SIGNING, HEADER, TOKEN, REQUEST, ROTATED, ACCESS, MAIL];

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
    /// Files that hold a secret on purpose.
    excused: Vec<&'static str>,
}

impl Search {
    fn new(marks: &[&str]) -> Self {
        let needles = marks.iter().flat_map(|mark| forms(mark).into_iter().map(|form| ((*mark).to_owned(), form)));
        Self { needles: needles.collect(), looked_at: 0, excused: Vec::new() }
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
                _ if self.excused.iter().any(|name| path.ends_with(name)) => {}
                kind if kind.is_file() => match std::fs::read(&path) {
                    Ok(bytes) => self.bytes(&path.display().to_string(), &bytes),
                    // A daemon that runs replaces files of its index; the new one is there the next time.
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display()),
                },
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

/// A certificate and its key, in PEM.
fn client_certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["client.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A port where connections are neither taken nor refused, as long as these are held.
fn black_hole() -> (u16, TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let only_place = TcpStream::connect(address).unwrap();
    (address.port(), listener, only_place)
}

/// Makes the address of the webhook `blocked` one that may not be dialled any more.
fn block(daemon: &Daemon) {
    let path = daemon.folder.path().join("postrider.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("127.0.0.0/8", "127.0.0.1/32")).unwrap();
    daemon.reload();
    daemon.until("it is blocked", |daemon| {
        (daemon.admin("POST /v1/webhooks/blocked/test", "").json()["error"] == "blocked").then_some(())
    });
}

/// Saves one webhook for every way in which a delivery can end.
fn save_all(
    daemon: &Daemon,
    receivers: &[(&'static str, Receiver)],
    hole: u16,
    certificate: &(String, String),
) -> usize {
    let tokens = Receiver::start(Box::new(|_| {
        let [body, header] = ANSWERS;
        let text = json!({"access_token": ACCESS, "expires_in": 600, "note": body}).to_string();
        Some(answer("200 OK", &["Content-Type: application/json", &format!("X-Said: {header}")], &text))
    }));
    let no_tokens = Receiver::start(Box::new(|_| {
        Some(answer("400 Bad Request", &[], &format!("{{\"error\":\"{}\"}}", ANSWERS[0])))
    }));
    for (name, receiver) in receivers {
        save(daemon, &webhook(name, &receiver.url("/hook"), Some(&tokens.url("/token"))));
    }
    let good = receivers[0].1.url("/");
    save(daemon, &webhook("no token", &good, Some(&no_tokens.url("/token"))));
    save(daemon, &webhook("refused", "http://127.0.0.1:9/", None));
    save(daemon, &webhook("blocked", "http://127.0.0.2:9/", None));
    save(daemon, &webhook("no answer", &format!("http://127.0.0.1:{hole}/"), None));
    save(daemon, &webhook("no name", "http://no-such-name.invalid/", None));
    let mut no_tls = webhook("no tls", &good.replace("http:", "https:"), None);
    no_tls["tls"] = json!({"client_certificate": certificate.0, "client_key": certificate.1});
    save(daemon, &no_tls);
    let rotated = json!({"signing_key": ROTATED}).to_string();
    assert_eq!(daemon.admin("POST /v1/webhooks/ok/rotate-key", &rotated).status, 200);
    block(daemon);
    receivers.len() + 6
}

#[test]
fn no_secret_and_nothing_a_receiver_says_is_kept_or_shown() {
    let (port, mails) = sink_behind(Some(MAIL));
    let elsewhere = tempfile::tempdir().unwrap();
    let password = elsewhere.path().join("password");
    std::fs::write(&password, format!("{MAIL}\n")).unwrap();
    let daemon = Daemon::start(&format!(
        "[log]\nlevel = \"trace\"\n[email]\nsmtp = \"smtp://127.0.0.1:{port}\"\nfrom = \"p@example.org\"\n\
         starttls = \"off\"\nusername = \"postrider\"\npassword_file = \"{}\"\nmax_per_hour = 100\n",
        password.display()
    ));
    let receivers = receivers();
    let (hole, ..) = &black_hole();
    let client = client_certificate();
    // The second line of base 64 is all secret; what is before it is much the same for all keys.
    let key_text = &client.1.lines().nth(2).unwrap()[..24];
    let count = save_all(&daemon, &receivers, *hole, &client);
    let app = daemon.admin("POST /v1/keys", "{\"name\":\"app\"}").json()["token"].as_str().unwrap().to_owned();

    let authorization = format!("Authorization: Bearer {app}");
    let length = format!("Content-Length: {}", PAYLOAD.len());
    let headers = ["Host: localhost", "Content-Type: application/json", &authorization, &length];
    assert_eq!(daemon.request("POST /v1/events/SOS_REPORT", &headers, PAYLOAD.as_bytes()).status, 202);
    let mut ends = BTreeSet::new();
    let ids = daemon.until("every delivery has ended", |daemon| {
        let items = daemon.admin("GET /v1/deliveries?limit=100", "").json()["items"].take();
        let items = items.as_array()?.clone();
        let ended = items.iter().filter(|one| one["state"] != "pending").count();
        ends = items
            .iter()
            .map(|one| one["last_error"].as_str().or(one["last_class"].as_str()).map(str::to_owned))
            .collect();
        // The one that answered 410 is paused, and failed before that.
        (ended == count).then(|| items.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    });
    let classes = ["2xx", "3xx", "4xx", "5xx"];
    let every = ErrorKind::ALL.iter().filter(|kind| **kind != ErrorKind::Damaged).map(|kind| kind.as_str());
    assert_eq!(ends, every.chain(classes).map(|word| Some(word.to_owned())).collect(), "every way to end");
    let sent = receivers[0].1.received(1);
    assert_eq!(sent[0].body, PAYLOAD.as_bytes());
    assert_eq!(sent[0].header("x-key"), Some(HEADER), "the receiver does get it");
    assert_eq!(sent[0].header("authorization"), Some(format!("Bearer {ACCESS}").as_str()));

    // One for each webhook but the one that succeeded.
    daemon.until("every mail", |_| (mails.lock().unwrap().len() == count - 1).then_some(()));

    let mut marks: Vec<&str> = SECRETS.iter().chain(&ANSWERS).copied().collect();
    marks.extend([key_text, app.as_str(), daemon.token.as_str()]);
    let mut search = Search::new(&marks);
    // Applications are given it from there.
    search.excused = vec!["state/ingest.token"];
    shown(&daemon, &ids, &mut search);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "a crash would leave its memory behind: {core}");
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
    covered(
        &["T13", "T14"],
        "no_secret_and_nothing_a_receiver_says_is_kept_or_shown",
        format!(
            "{} places searched for {} marks in every encoding, all failure classes forced, at trace level: 0 hits",
            search.looked_at,
            SECRETS.len() + ANSWERS.len() + 3
        ),
    );
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
    let plain = json!({"name": "ok", "url": "http://127.0.0.1:9/", "event_types": ["*"], "signing_key": SIGNING});
    let document = json!({"postrider_export": 1, "webhooks": [plain]});
    let plan = daemon.admin("POST /v1/import", &json!({"document": document, "dry_run": true}).to_string());
    assert_eq!(plan.status, 200, "{plan:?}");
    search.bytes("a plan", plan.body.as_bytes());
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
fn a_master_key_of_systemd_is_used_and_not_copied() {
    let mut daemon = Daemon::start("");
    assert_eq!(daemon.stop(), 0);
    let state = daemon.folder.path().join("state");
    let key = std::fs::read(state.join("master.key")).unwrap();
    std::fs::remove_dir_all(&state).unwrap();
    let credential = daemon.folder.path().join("credentials/master.key");
    std::fs::create_dir(credential.parent().unwrap()).unwrap();
    std::fs::write(&credential, &key).unwrap();
    std::fs::set_permissions(&credential, PermissionsExt::from_mode(0o400)).unwrap();
    daemon.start_again();
    save(&daemon, &webhook("sealed", "http://127.0.0.1:9/", None));
    assert_eq!(daemon.stop(), 0);
    assert!(!state.join("master.key").exists());
    // Only who has the key can open what it sealed.
    daemon.start_again();
    let shown = daemon.admin("GET /v1/webhooks/sealed/secrets/signing_key", "").json();
    assert_eq!(shown["value"], SIGNING);
    Search::new(&SECRETS).folder(&state);
    covered(
        &["T13"],
        "a_master_key_of_systemd_is_used_and_not_copied",
        "a key from systemd alone opens what it sealed; none is written",
    );
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
