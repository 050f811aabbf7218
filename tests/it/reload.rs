//! Operators' mistakes while events come in: configurations that can not be used, a webhook deleted with what waits for
//! it, a key exchanged. Everything goes on as it was, and nothing is lost or signed with a key that nobody has.

use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use sha2::Sha256;

use crate::rows::covered;
use crate::support::daemon::Daemon;
use crate::support::receiver::{Received, Receiver, answer};
use crate::support::terminal::{Setup, Terminal};

fn refused(daemon: &Daemon) -> usize {
    let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap();
    log.lines().filter(|line| line.contains("reload refused")).count()
}

#[test]
fn a_configuration_that_can_not_be_used_changes_nothing() {
    let receiver = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    let daemon = Daemon::start("");
    let path = daemon.folder.path().join("postrider.toml");
    let good = std::fs::read(&path).unwrap();
    let hook = json!({"name": "one", "url": receiver.url("/"), "event_types": ["*"]});
    assert_eq!(daemon.admin("POST /v1/webhooks", &hook.to_string()).status, 201);
    let ten_megabytes = [b"# ".to_vec(), vec![b'x'; 10 << 20]].concat();
    // With a list of allowed addresses that would stop the deliveries, if it was taken over.
    let wrong: Vec<(&str, Vec<u8>)> = vec![
        ("no TOML", b"[egress]\nallow = []\n[ingest\n".to_vec()),
        ("an unknown key", b"[egress]\nallow = []\nallowed = []\n".to_vec()),
        ("a wrong type", b"[egress]\nallow = []\n[delivery]\ntimeout_seconds = \"soon\"\n".to_vec()),
        ("a header name that is none", b"[egress]\nallow = []\n[signature]\nbody_header = \"a b\"\n".to_vec()),
        ("a certificate that is not there", b"[egress]\nallow = []\nca_file = \"/nonexistent/ca.pem\"\n".to_vec()),
        ("no text", (0..=255).collect()),
        ("a NUL", b"[egress]\nallow = []\n\0".to_vec()),
        ("ten megabytes", ten_megabytes),
        ("written by anybody", b"[egress]\nallow = []\n".to_vec()),
        ("a folder", Vec::new()),
        ("gone", Vec::new()),
    ];
    for (number, (what, bytes)) in wrong.iter().enumerate() {
        // Renamed into place, as good editors do.
        let unfinished = daemon.folder.path().join("new");
        std::fs::write(&unfinished, bytes).unwrap();
        if *what == "written by anybody" {
            std::fs::set_permissions(&unfinished, PermissionsExt::from_mode(0o666)).unwrap();
        }
        std::fs::rename(&unfinished, &path).unwrap();
        if matches!(*what, "gone" | "a folder") {
            std::fs::remove_file(&path).unwrap();
        }
        if *what == "a folder" {
            std::fs::create_dir(&path).unwrap();
        }
        daemon.reload();
        daemon.until(what, |daemon| (refused(daemon) > number).then_some(()));
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202, "{what}");
        assert_eq!(receiver.received(number + 1).len(), number + 1, "{what}: it was delivered as before");
        if *what == "a folder" {
            std::fs::remove_dir(&path).unwrap();
        }
    }
    std::fs::write(&path, good).unwrap();
    daemon.reload();
    daemon.until("the good one is taken over", |daemon| {
        let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap();
        log.contains("was read again").then_some(())
    });
    covered(
        &["F42"],
        "a_configuration_that_can_not_be_used_changes_nothing",
        format!("{} wrong files refused, deliveries as before after each", wrong.len()),
    );
}

#[test]
fn what_waits_for_a_webhook_that_is_deleted_is_cancelled() {
    const WAITING: usize = 50;
    let daemon = Daemon::start("");
    let hook = json!({"name": "gone", "url": "http://127.0.0.1:9/", "event_types": ["*"], "paused": true});
    assert_eq!(daemon.admin("POST /v1/webhooks", &hook.to_string()).status, 201);
    assert_eq!(daemon.admin("POST /v1/webhooks/gone/pause", "").status, 200);
    for _ in 0..WAITING {
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
    }
    let deleted = daemon.admin("DELETE /v1/webhooks/gone", "");
    assert!(deleted.status < 300, "{deleted:?}");
    let cancelled = daemon.until("all are cancelled", |daemon| {
        let list = daemon.admin("GET /v1/deliveries?state=cancelled&limit=100", "").json();
        let count = list["items"].as_array().unwrap().len();
        let pending = daemon.admin("GET /v1/status", "").json()["pending"] == 0;
        (pending && count == WAITING).then_some(count)
    });
    covered(
        &["F42"],
        "what_waits_for_a_webhook_that_is_deleted_is_cancelled",
        format!("{cancelled} waiting deliveries, all cancelled, none pending"),
    );
}

const OLD: &str = "the-old-key-0123456789abcdef";
const NEW: &str = "the-new-key-0123456789abcdef";

fn mac(key: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// Whether a receiver that knows only this key would take it for ours.
fn verifies(request: &Received, key: &str) -> bool {
    let header = |name| request.header(name).unwrap();
    let (id, at) = (header("webhook-id").as_bytes(), header("webhook-timestamp").as_bytes());
    let wanted = format!("v1,{}", STANDARD.encode(mac(key, &[id, b".", at, b".", &request.body])));
    header("webhook-signature").split(' ').any(|one| one == wanted)
}

#[test]
fn while_a_key_is_exchanged_every_delivery_is_signed_with_a_key_that_is_known() {
    const EVENTS: usize = 60;
    let receiver = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    let daemon = Daemon::start("");
    let hook = json!({"name": "one", "url": receiver.url("/"), "event_types": ["*"], "signing_key": OLD});
    assert_eq!(daemon.admin("POST /v1/webhooks", &hook.to_string()).status, 201);
    let post = |number: usize| {
        let body = json!({"scanRef": format!("r{number}")}).to_string();
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", &body).status, 202);
    };
    // What is still under way when the key is exchanged may be signed either way, and must verify with one of them.
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| (0..EVENTS).for_each(post));
        receiver.received(EVENTS / 3);
        let rotated = daemon.admin("POST /v1/webhooks/one/rotate-key", &json!({"signing_key": NEW}).to_string());
        assert_eq!(rotated.status, 200, "{rotated:?}");
        posting.join().unwrap();
    });
    post(EVENTS);
    let (mut old, mut both) = (0, 0);
    let all = receiver.received(EVENTS + 1);
    for request in &all {
        match (verifies(request, OLD), verifies(request, NEW)) {
            (true, false) => old += 1,
            (true, true) => both += 1,
            other => panic!("{other:?}: {}", request.head),
        }
        let body = data_encoding::HEXLOWER.encode(&mac(OLD, &[&request.body]));
        let body_new = data_encoding::HEXLOWER.encode(&mac(NEW, &[&request.body]));
        let told = request.header("idenfy-signature").unwrap();
        assert!(told == body || told == body_new, "{told}");
    }
    assert!(old > 0 && both > 0, "{old} with the old key only, {both} with both");
    let last = all.iter().find(|request| request.body == format!("{{\"scanRef\":\"r{EVENTS}\"}}").as_bytes()).unwrap();
    assert!(verifies(last, NEW));
    covered(
        &["F42", "T16"],
        "while_a_key_is_exchanged_every_delivery_is_signed_with_a_key_that_is_known",
        format!("{old} deliveries with the old key, {both} with both, 0 with neither"),
    );
}

#[test]
fn a_terminal_ui_that_is_killed_leaves_the_daemon_and_the_next_one_as_they_were() {
    const TIMES: usize = 5;
    let daemon = Daemon::start("");
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let before = descriptors();
    for _ in 0..TIMES {
        for signal in [Signal::KILL, Signal::HUP] {
            let mut terminal = Terminal::ui(&daemon, &Setup { size: (60, 12), ..Setup::default() });
            terminal.until_written("a picture", |raw| raw.ends_with(b"\x1b[?2026l"));
            kill_process(terminal.pid(), signal).unwrap();
            assert_eq!(terminal.exit(), if signal == Signal::KILL { 137 } else { 129 });
            // Nothing can be given back by who was killed; whoever can, does.
            assert_eq!(terminal.is_cooked(), signal == Signal::HUP);
            assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
        }
    }
    daemon.until("its connections are gone", |_| (descriptors() <= before + 2).then_some(()));
    covered(
        &["F45"],
        "a_terminal_ui_that_is_killed_leaves_the_daemon_and_the_next_one_as_they_were",
        format!("{TIMES} times SIGKILL and SIGHUP at 60x12: every event taken, {before} descriptors before and after"),
    );
}
