//! Whoever may only look: every other request is refused on the socket, whatever it is, and nothing
//! comes of it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::receiver::Receiver;

/// Everything that changes, tests or reveals something, in an order in which each is possible.
const CHANGES: &[(&str, &str)] = &[
    ("POST /v1/verify", ""),
    ("POST /v1/backup", ""),
    ("POST /v1/email/test", "{\"to\":[\"ops@example.com\"]}"),
    ("GET /v1/webhooks/w/secrets/signing_key", ""),
    ("GET /v1/webhooks/w/secrets/signing_key?x=1", ""),
    ("GET /v1/webhooks/w/%73ecrets/signing_key", ""),
    ("POST /v1/webhooks", "{\"name\":\"new\",\"url\":\"http://127.0.0.1:9/\",\"event_types\":[\"*\"]}"),
    ("POST /v1/webhooks/test", "{\"url\":\"RECEIVER\",\"event_types\":[\"SOS_REPORT\"]}"),
    ("POST /v1/webhooks/w/test", "{}"),
    ("POST /v1/webhooks/w/clone", "{\"name\":\"copy\"}"),
    ("PATCH /v1/webhooks/w", "{\"timeout_seconds\":3}"),
    ("PUT /v1/webhooks/w", "{\"name\":\"w\",\"url\":\"RECEIVER\",\"event_types\":[\"*\"],\"paused\":true}"),
    ("POST /v1/webhooks/w/pause", ""),
    ("POST /v1/webhooks/w/resume", ""),
    ("POST /v1/webhooks/w/rotate-key", "{\"signing_key\":\"other-key\"}"),
    ("POST /v1/webhooks/deleted/restore", ""),
    ("DELETE /v1/webhooks/new", ""),
    ("PUT /v1/event-types/MINE", "{\"label\":\"Mine too\"}"),
    ("DELETE /v1/event-types/MINE", ""),
    ("POST /v1/keys", "{\"name\":\"more\"}"),
    ("DELETE /v1/keys/spare", ""),
    ("POST /v1/deliveries/DELIVERY/resend", ""),
    ("POST /v1/deliveries/DELIVERY/cancel", ""),
    ("POST /v1/resend", "{\"filter\":{\"webhook\":\"w\"}}"),
    ("POST /v1/resend", "{\"filter\":{\"webhook\":\"w\"},\"dry_run\":true}"),
    ("POST /v1/cancel", "{\"all\":true}"),
    ("POST /v1/jobs/JOB/stop", ""),
    ("DELETE /v1/jobs/JOB", ""),
    ("POST /v1/import", "{\"document\":{\"postrider_export\":1,\"webhooks\":[]}}"),
];

/// Everything that may be looked at.
const LOOKS: &[&str] = &[
    "/v1/status",
    "/v1/stats",
    "/v1/changes?wait=0",
    "/v1/webhooks",
    "/v1/webhooks?deleted=true",
    "/v1/webhooks/w",
    "/v1/webhooks/secrets",
    "/v1/webhooks/w/plan",
    "/v1/event-types",
    "/v1/event-types/MINE",
    "/v1/event-types/SOS_REPORT/schema",
    "/v1/event-types/SOS_REPORT/example",
    "/v1/events",
    "/v1/events/EVENT",
    "/v1/events/EVENT/payload",
    "/v1/deliveries",
    "/v1/deliveries/DELIVERY",
    "/v1/deliveries/DELIVERY/payload",
    "/v1/export",
    "/v1/keys",
    "/v1/audit",
    "/v1/jobs",
    "/v1/jobs/JOB",
];

/// A daemon with something of everything, and what stands for its ids.
struct Bed {
    daemon: Daemon,
    receiver: Receiver,
    names: Vec<(&'static str, String)>,
}

impl Bed {
    fn new() -> Self {
        let group = rustix::process::getgid().as_raw();
        let daemon = Daemon::start(&format!("[admin]\nreadonly_group = \"{group}\"\n"));
        let receiver = Receiver::start(Box::new(|_| Some(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())));
        let ok = |line: &str, body: &str| {
            let answer = daemon.admin(line, body);
            assert!(answer.status < 300, "{line}: {answer:?}");
            answer
        };
        ok("PUT /v1/event-types/MINE", "{\"label\":\"Mine\"}");
        ok("POST /v1/keys", "{\"name\":\"spare\"}");
        for name in ["w", "secrets", "deleted"] {
            let webhook = json!({"name": name, "url": receiver.url("/"), "event_types": ["SOS_REPORT"], "paused": true,
                "signing_key": "canary-key"});
            ok("POST /v1/webhooks", &webhook.to_string());
        }
        ok("DELETE /v1/webhooks/deleted", "");
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{\"scanRef\":\"s\"}").json()["deliveries"], 2);
        let job = ok("POST /v1/cancel", "{\"filter\":{\"webhook\":\"secrets\"}}").json();
        daemon.until("the job is done", |daemon| {
            let jobs = daemon.admin("GET /v1/jobs", "").json();
            (jobs["items"][0]["state"] == "done").then_some(())
        });
        // What does not fit its schema is counted a moment after the answer.
        daemon.until("what was posted is checked", |daemon| {
            let types = daemon.admin("GET /v1/event-types", "").json();
            let of = types["items"].as_array().unwrap().iter().find(|of| of["name"] == "SOS_REPORT").unwrap();
            (of["drift"]["count"] == 1).then_some(())
        });
        let delivery = ok("GET /v1/deliveries?webhook=w", "").json()["items"][0].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names = vec![
            ("RECEIVER", receiver.url("/")),
            ("DELIVERY", text(&delivery["id"])),
            ("EVENT", text(&delivery["event_id"])),
            ("JOB", text(&job["id"])),
        ];
        Self { daemon, receiver, names }
    }

    fn filled(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn socket(&self, name: &str) -> std::path::PathBuf {
        self.daemon.folder.path().join("state").join(name)
    }

    /// One call on the socket for looking.
    fn on_readonly(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.socket("readonly.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = body.len();
        let head =
            format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
        // A refusal may come before the body was sent.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        // … and the end after it is a reset then, since the daemon closes with the body unread.
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
    }

    /// All that could have changed.
    fn state(&self) -> Vec<Value> {
        let lists = ["webhooks?deleted=true", "export", "keys", "event-types", "deliveries", "jobs", "audit?limit=500"];
        lists.iter().map(|list| self.daemon.admin(&format!("GET /v1/{list}"), "").json()).collect()
    }
}

#[test]
fn whoever_may_only_look_changes_tests_and_reveals_nothing() {
    let bed = Bed::new();
    let before = bed.state();
    for (line, body) in CHANGES {
        let (line, body) = (bed.filled(line), bed.filled(body));
        let asked = bed.daemon.admin_as(&line, &["postrider-read-only: true"], &body);
        assert_eq!(asked.status, 403, "{line}: {asked:?}");
        assert_eq!(asked.header("content-type"), Some("application/problem+json"));
        assert!(asked.json()["detail"].as_str().unwrap().contains("read-only"), "{asked:?}");
        assert!(!asked.body.contains("canary"));
        // Nobody gets out of it by saying otherwise.
        for headers in ["", "postrider-read-only: false\r\n", "postrider-read-only: true\r\n"] {
            let (status, text) = bed.on_readonly(&line, headers, &body);
            assert!(status == 403 && text.contains("read-only") && !text.contains("canary"), "{line}: {text}");
        }
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PURGE"] {
        assert_eq!(bed.on_readonly(&format!("{method} /v1/whatever"), "", "").0, 403, "{method}");
    }
    assert_eq!(bed.state(), before);
    assert_eq!(bed.receiver.received(0).len(), 0);
    for path in LOOKS {
        let line = format!("GET {}", bed.filled(path));
        assert_eq!(bed.daemon.admin_as(&line, &["postrider-read-only: true"], "").status, 200, "{line}");
        let (status, text) = bed.on_readonly(&line, "", "");
        assert!(status == 200 && !text.contains("canary"), "{line}: {text}");
    }
    assert_eq!(bed.state(), before);
    let told = |answer: &str| answer.contains("\"read_only\":true");
    assert!(told(&bed.on_readonly("GET /v1/status", "", "").1));
    assert!(told(&bed.daemon.admin_as("GET /v1/status", &["postrider-read-only: true"], "").body));
    assert!(!told(&bed.daemon.admin("GET /v1/status", "").body));
    // These are calls that exist: whoever may do everything is not told otherwise.
    for (line, body) in CHANGES {
        let answer = bed.daemon.admin_as(&bed.filled(line), &["postrider-read-only: false"], &bed.filled(body));
        assert!(![403, 404, 405].contains(&answer.status), "{line}: {answer:?}");
    }
    assert_ne!(bed.state(), before);
    bed.receiver.received(1);
}

/// The lists above know every word of every route.
#[test]
fn no_route_is_left_out() {
    let all: Vec<&str> = CHANGES.iter().map(|(line, _)| *line).chain(LOOKS.iter().copied()).collect();
    let known: BTreeSet<&str> = all.iter().flat_map(|line| line.split(['/', ' ', '?'])).collect();
    let mut words = BTreeSet::new();
    for file in crate::support::source::rust_files("src/admin/server") {
        words.extend(routed(&file.text));
    }
    words.extend(routed(include_str!("../../src/admin/server.rs")));
    assert!(words.len() >= 25, "{words:?}");
    let unknown: Vec<_> = words.iter().filter(|word| !known.contains(word.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The words in the arms that match paths.
fn routed(text: &str) -> BTreeSet<String> {
    let arms = text.lines().filter(|line| line.trim_start().starts_with('[') && line.contains("=>"));
    let pattern = |line: &str| line.split("=>").next().unwrap_or_default().to_owned();
    arms.flat_map(|line| pattern(line).split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn the_socket_for_looking_is_there_for_its_group_and_found_last() {
    let mut bed = Bed::new();
    let (admin, readonly) = (bed.socket("admin.sock"), bed.socket("readonly.sock"));
    let metadata = std::fs::metadata(&readonly).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o660, rustix::process::getgid().as_raw()));
    let log = std::fs::read_to_string(bed.daemon.folder.path().join("log")).unwrap();
    assert!(log.contains("closed to the group") && !log.contains("no effect"), "{log}");
    let paused = |bed: &Bed| bed.daemon.admin("GET /v1/webhooks/w", "").json()["paused"].clone();
    let refused = bed.daemon.cli(&["--socket", readonly.to_str().unwrap(), "webhook", "resume", "w"]);
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("read-only"), "{refused:?}");
    assert_eq!(paused(&bed), true);
    let listed = bed.daemon.cli(&["--socket", readonly.to_str().unwrap(), "webhook", "list"]);
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let read_only = |bed: &Bed| {
        let told = bed.daemon.cli(&["status", "--json"]);
        serde_json::from_slice::<Value>(&told.stdout).unwrap()["read_only"].clone()
    };
    assert_eq!(read_only(&bed), false);
    // As for somebody who may not use the other.
    let aside = bed.socket("aside.sock");
    std::fs::rename(&admin, &aside).unwrap();
    assert_eq!(read_only(&bed), true);
    std::fs::rename(&aside, &admin).unwrap();
    assert_eq!(bed.daemon.stop(), 0);
    assert!(!admin.exists() && !readonly.exists());

    let plain = Daemon::start("");
    assert!(!plain.folder.path().join("state/readonly.sock").exists());
}
