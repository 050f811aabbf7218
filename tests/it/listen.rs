//! `postrider listen`: the finished program as a receiver of a real daemon.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::daemon::Daemon;

const KEY: &str = "a signing key that is not a secret";

/// A running receiver that tells in JSON; ends with this.
struct Listener {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl Listener {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_postrider"))
            .args(["listen", "--json", "--port", "0"])
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut listener = Self { child, lines, address: String::new() };
        listener.address = listener.line()["listening"].as_str().unwrap().to_owned();
        listener
    }

    /// What it tells next; waits for it.
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| {
            let _ = self.child.kill();
            let mut said = String::new();
            let _ = self.child.stderr.take().unwrap().read_to_string(&mut said);
            panic!("{error}: {line:?}, and it said {said:?}")
        })
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code and what else it told.
    fn end(mut self) -> (i32, Vec<String>) {
        let rest = self.lines.by_ref().lines().collect::<Result<_, _>>().unwrap();
        (self.child.wait().unwrap().code().unwrap(), rest)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key_file(folder: &Path) -> String {
    let path = folder.join("key");
    std::fs::write(&path, format!("{KEY}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A webhook for everything, with retries a second apart.
fn create_webhook(daemon: &Daemon, address: &str, key: &str) {
    let webhook = serde_json::json!({
        "name": "test",
        "url": format!("http://{address}/hook?a=b"),
        "event_types": ["*"],
        "signing_key": key,
        "retry": {"count": 3, "interval_seconds": 1},
    });
    let answer = daemon.admin("POST /v1/webhooks", &webhook.to_string());
    assert_eq!(answer.status, 201, "{}", answer.body);
}

#[test]
fn it_verifies_a_real_delivery_and_ends_by_count() {
    let daemon = Daemon::start("");
    let mut listener = Listener::start(&["--key-file", &key_file(daemon.folder.path()), "--body", "--count", "1"]);
    create_webhook(&daemon, &listener.address, KEY);
    let posted = daemon.post("/v1/events/SOS_REPORT", r#"{"id":"sos-1","a":"ż"}"#).json();
    let seen = listener.line();
    for (field, value) in [
        ("method", "POST"),
        ("path", "/hook?a=b"),
        ("event_type", "SOS_REPORT"),
        ("webhook_id", posted["id"].as_str().unwrap()),
        ("idenfy_signature", "ok"),
        ("webhook_signature", "ok"),
        ("conduct", "answer"),
        ("body", r#"{"id":"sos-1","a":"ż"}"#),
    ] {
        assert_eq!(seen[field], value, "{seen}");
    }
    assert_eq!((&seen["attempt"], &seen["number"], &seen["status"]), (&1.into(), &1.into(), &200.into()));
    assert_eq!(listener.end(), (0, Vec::new()));
    let list = || daemon.admin("GET /v1/deliveries", "").json()["items"][0].clone();
    let delivery = daemon.until("the delivery", |_| Some(list()).filter(|one| one["state"] == "delivered"));
    assert_eq!(delivery["id"], seen["delivery_id"]);
}

#[test]
fn it_answers_in_turn_resets_and_sees_a_wrong_key() {
    let daemon = Daemon::start("");
    let file = key_file(daemon.folder.path());
    let mut listener = Listener::start(&["--key-file", &file, "--status", "503,204", "--reset", "2nd", "--count", "3"]);
    create_webhook(&daemon, &listener.address, "another key");
    daemon.post("/v1/events/SOS_REPORT", "{}");
    let conducts: Vec<(Value, Value)> = (0..3)
        .map(|attempt| {
            let seen = listener.line();
            assert_eq!(seen["attempt"], attempt + 1, "{seen}");
            assert_eq!((&seen["idenfy_signature"], &seen["webhook_signature"]), (&"wrong".into(), &"wrong".into()));
            (seen["conduct"].clone(), seen["status"].clone())
        })
        .collect();
    // The second of the two statuses fell to the connection that was reset.
    assert_eq!(conducts, [("answer".into(), 503.into()), ("reset".into(), Value::Null), ("answer".into(), 503.into())]);
    assert_eq!(listener.end().0, 0);
    let attempts = daemon.until("three attempts", |daemon| {
        let list = daemon.admin("GET /v1/deliveries", "").json();
        let id = list["items"][0]["id"].as_str()?.to_owned();
        let attempts = daemon.admin(&format!("GET /v1/deliveries/{id}"), "").json()["attempts"].as_array()?.clone();
        (attempts.len() >= 3).then_some(attempts)
    });
    let ends: Vec<(&Value, &Value)> = attempts.iter().take(3).map(|one| (&one["code"], &one["error"])).collect();
    assert_eq!(ends, [(&503.into(), &Value::Null), (&0.into(), &"reset".into()), (&503.into(), &Value::Null)]);
}

#[test]
fn it_ends_when_it_is_told_to_and_says_when_a_port_is_taken() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let listener = Listener::start(&["--delay", "1"]);
        listener.signal(signal);
        assert_eq!(listener.end(), (0, Vec::new()));
    }
    let listener = Listener::start(&[]);
    let port = listener.address.rsplit(':').next().unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_postrider")).args(["listen", "--port", port]).env_clear().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains(&listener.address) && said.contains("--port"), "{said}");
}
