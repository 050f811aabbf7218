//! `POST /v1/webhooks/…/test` and `webhook test`, as an operator meets them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::daemon::Daemon;

const CANARY: &str = "canary";

/// Answers every request with this code, and text of its own that nobody may get to see. With 0
/// it answers nothing and keeps the connections.
struct Hook {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    arrived: Receiver<()>,
}

impl Hook {
    fn start(code: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let (sender, arrived) = channel();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !is_whole(&request) {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => break,
                        Ok(count) => request.extend_from_slice(&buffer[..count]),
                    }
                }
                seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                if code == 0 {
                    kept.push(stream);
                } else {
                    let answer = format!(
                        "HTTP/1.1 {code} {CANARY}\r\nX-{CANARY}: {CANARY}\r\nLocation: https://{CANARY}.example/\r\n\
                         Content-Length: 6\r\nConnection: close\r\n\r\n{CANARY}"
                    );
                    let _ = stream.write_all(answer.as_bytes());
                }
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
        Self { address, requests, arrived }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn last(&self) -> String {
        self.requests.lock().unwrap().last().cloned().unwrap_or_default()
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn webhook(name: &str, url: &str) -> Value {
    json!({
        "name": name, "url": url, "event_types": ["SOS_REPORT", "*"], "timeout_seconds": 5,
        "headers": [{"name": "X-Env", "value": "prod"}, {"name": "X-Key", "value": "secret-header", "secret": true}],
        "signing_key": "secret-key",
    })
}

fn saved(daemon: &Daemon, name: &str, url: &str) {
    let answer = daemon.admin("POST /v1/webhooks", &webhook(name, url).to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// The answer of a test, with no trace of what the receiver said or what is secret.
fn tested(daemon: &Daemon, path: &str, body: &str) -> Value {
    let answer = daemon.admin(&format!("POST /v1/webhooks/{path}"), body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.body.to_ascii_lowercase();
    assert!(!body.contains(CANARY) && !body.contains("secret-"), "{body}");
    answer.json()
}

fn step<'a>(test: &'a Value, name: &str) -> &'a Value {
    test["steps"].as_array().unwrap().iter().find(|step| step["name"] == name).unwrap()
}

fn failing(test: &Value) -> &Value {
    let mut failed = test["steps"].as_array().unwrap().iter().filter(|step| step["state"] == "failed");
    let first = failed.next().unwrap_or_else(|| panic!("nothing failed: {test}"));
    assert!(failed.next().is_none() && first["cause"].is_string(), "{test}");
    first
}

#[test]
fn a_saved_webhook_is_tested_and_nothing_is_kept() {
    let daemon = Daemon::start("");
    let hook = Hook::start(200);
    saved(&daemon, "w", &hook.url());
    let test = tested(&daemon, "w/test", "");
    assert_eq!((&test["delivered"], &test["code"], &test["class"]), (&json!(true), &json!(200), &json!("2xx")));
    assert_eq!((&test["error"], &test["event_type"]), (&Value::Null, &json!("SOS_REPORT")));
    let names: Vec<&str> = test["steps"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["url", "dns", "connect", "tls", "oauth", "signature", "request", "response"]);
    let sent = hook.last();
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    let example = include_str!("../../src/catalog/examples/SOS_REPORT.json");
    assert_eq!((body, test["payload_bytes"].as_u64()), (example, Some(example.len() as u64)));
    let head = head.to_ascii_lowercase();
    for line in ["postrider-test: true", "postrider-attempts-left: 0", "x-key: secret-header", "idenfy-signature: "] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let shown = test["request"]["headers"].as_array().unwrap();
    let shown = |name: &str| shown.iter().find(|header| header[0] == name).unwrap()[1].clone();
    assert_eq!((shown("x-env"), shown("x-key"), shown("postrider-test")), (json!("prod"), json!("…"), json!("true")));
    assert_eq!((shown("idenfy-signature"), shown("webhook-signature")), (json!("…"), json!("…")));

    // Its own type and bytes.
    let given = r#"{"event_type": "aml monitoring", "payload": {"b" : 1.0,"a":"\u0041"} }"#;
    let test = tested(&daemon, "w/test", given);
    assert_eq!((test["event_type"].as_str(), test["payload_bytes"].as_u64()), (Some("AML_MONITORING"), Some(24)));
    assert!(hook.last().ends_with("\r\n\r\n{\"b\" : 1.0,\"a\":\"\\u0041\"}"), "{}", hook.last());

    for path in ["deliveries", "events"] {
        assert_eq!(daemon.admin(&format!("GET /v1/{path}"), "").json()["items"], json!([]), "{path}");
    }
    let status = daemon.admin("GET /v1/status", "").json();
    assert_eq!((&status["pending"], &status["attempts"]), (&json!(0), &json!(0)));
    let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap();
    assert!(!log.contains("secret-") && !log.contains(CANARY), "{log}");
}

#[test]
fn a_receiver_that_says_no_changes_nothing_about_the_webhook() {
    let daemon = Daemon::start("");
    for code in [302, 401, 404, 410, 500] {
        let (hook, name) = (Hook::start(code), format!("w{code}"));
        saved(&daemon, &name, &hook.url());
        let test = tested(&daemon, &format!("{name}/test"), "{}");
        assert_eq!((&test["delivered"], &test["code"]), (&json!(false), &json!(code)));
        assert_eq!(failing(&test)["name"], "response");
        let after = daemon.admin(&format!("GET /v1/webhooks/{name}"), "").json();
        assert_eq!((&after["paused"], &after["version"]), (&json!(false), &json!(1)), "{code}");
        assert_eq!((&after["lane"]["failing"], &after["lane"]["failures"]), (&json!(false), &json!(0)), "{code}");
        assert_eq!(hook.count(), 1);
    }
}

#[test]
fn what_is_not_saved_can_be_tested() {
    let daemon = Daemon::start("");
    let (saved_hook, other) = (Hook::start(500), Hook::start(204));
    saved(&daemon, "w", &saved_hook.url());
    let test = tested(&daemon, "w/test", &json!({"webhook": {"url": other.url()}}).to_string());
    assert_eq!(test["delivered"], true);
    assert!(other.last().to_ascii_lowercase().contains("x-key: secret-header"), "kept secrets go along …");
    let told = step(&test, "request")["detail"].as_str().unwrap().to_owned();
    assert!(told.contains(&format!("http://{}", other.address)) && told.contains("header X-Key"), "… and: {told}");
    assert!(told.contains("signature"), "{told}");
    // The same host is nobody new, and neither is a host that gets new secrets.
    let path = json!({"webhook": {"url": format!("{}/elsewhere", saved_hook.url())}}).to_string();
    let quiet = json!({"webhook": {"url": other.url(), "headers": [], "signing_key": null}}).to_string();
    for body in [path, quiet] {
        let test = tested(&daemon, "w/test", &body);
        assert!(!step(&test, "request")["detail"].as_str().unwrap().contains("kept"), "{test}");
    }
    assert_eq!(daemon.admin("GET /v1/webhooks/w", "").json()["url"], saved_hook.url(), "nothing was saved");

    let mut alone = webhook("w", &other.url());
    alone.as_object_mut().unwrap().remove("name");
    assert_eq!(tested(&daemon, "test", &alone.to_string())["delivered"], true);
    let wrapped = json!({"webhook": webhook("w", &other.url()), "payload": null});
    assert_eq!(tested(&daemon, "test", &wrapped.to_string())["payload_bytes"], 4);
    assert_eq!(daemon.admin("GET /v1/webhooks", "").json()["items"].as_array().unwrap().len(), 1);

    let refused = |path: &str, body: &str| {
        let answer = daemon.admin(&format!("POST /v1/webhooks/{path}"), body);
        (answer.status, answer.json()["problems"][0]["field"].as_str().unwrap_or_default().to_owned())
    };
    let field = |name: &str| (422, name.to_owned());
    assert_eq!(refused("w/test", r#"{"webhook": {"url": "ftp://x/"}}"#), field("url"));
    assert_eq!(refused("w/test", r#"{"webhook": {"tls": {"ca": "-----BEGIN nothing"}}}"#), field("tls"));
    let https = r#"{"webhook": {"url": "https://127.0.0.1/", "tls": {"ca": "-----BEGIN nothing"}}}"#;
    assert_eq!(refused("w/test", https), field("tls.ca"));
    assert_eq!(
        refused("test", r#"{"url": "http://127.0.0.1:9/", "event_types": ["SOS_REPROT"]}"#),
        field("event_types")
    );
    assert_eq!(refused("w/test", r#"{"event_type": "SOS_REPROT"}"#), field("event_type"));
    assert_eq!(refused("w/test", r#"{"payloda": 1}"#).0, 400);
    assert_eq!(refused("nobody/test", "{}").0, 404);
    assert_eq!(daemon.admin("GET /v1/webhooks/w/test", "").status, 405);
}

#[test]
fn the_guard_names_the_line_to_add() {
    let daemon = Daemon::start("");
    let url = "http://10.1.2.3/hook";
    let line = "[egress] allow = [\"10.1.2.3/32\"]";
    let save = daemon.admin("POST /v1/webhooks", &webhook("w", url).to_string());
    assert!(save.status == 422 && save.json()["detail"].as_str().unwrap().contains(line), "{save:?}");
    let test = tested(&daemon, "test", &webhook("w", url).to_string());
    assert_eq!((&test["code"], &test["error"]), (&json!(0), &json!("blocked")));
    let failed = failing(&test);
    assert_eq!(failed["name"], "connect");
    assert!(failed["detail"].as_str().unwrap().ends_with(line), "{failed}");
    assert_eq!(step(&test, "response")["state"], "not_tried");
}

#[test]
fn tests_have_a_bound_of_their_own() {
    let daemon = Daemon::start("");
    let silent = Hook::start(0);
    saved(&daemon, "w", &silent.url());
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| tested(&daemon, "w/test", ""))).collect();
        for _ in 0..8 {
            silent.arrived.recv().unwrap();
        }
        let one_more = daemon.admin("POST /v1/webhooks/w/test", "");
        assert_eq!(one_more.status, 429, "{one_more:?}");
        for test in waiting {
            let test = test.join().unwrap();
            assert_eq!((&test["error"], &failing(&test)["name"]), (&json!("timeout"), &json!("response")));
        }
    });
    assert_eq!(
        tested(&daemon, "w/test", &json!({"webhook": {"url": Hook::start(200).url()}}).to_string())["code"],
        200
    );
}

#[test]
fn the_command_line_tells_step_by_step() {
    let daemon = Daemon::start("");
    let (good, bad) = (Hook::start(200), Hook::start(404));
    saved(&daemon, "w", &good.url());
    let run = |arguments: &[&str]| {
        let output = daemon.cli(arguments);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run(&["webhook", "test", "w"]);
    assert_eq!((code, out.lines().count()), (0, 9), "{out}{err}");
    assert!(out.lines().last().unwrap().starts_with("w works: 200"), "{out}");
    let payload = daemon.folder.path().join("payload.json");
    std::fs::write(&payload, "{\"x\": 1}\n").unwrap();
    let payload = payload.to_str().unwrap();
    let url = bad.url();
    let (code, out, _) =
        run(&["webhook", "test", "w", "--url", &url, "--event-type", "AML_MONITORING", "--payload", payload]);
    assert_eq!(code, 1);
    let failed = out.lines().find(|line| line.starts_with("response")).unwrap();
    assert!(failed.contains("FAIL") && failed.contains("404, client error"), "{out}");
    assert!(out.lines().last().unwrap().starts_with("w failed at response; likely cause: the path"), "{out}");
    assert!(bad.last().ends_with("\r\n\r\n{\"x\": 1}") && bad.last().contains("AML_MONITORING"), "{}", bad.last());
    let (code, out, _) = run(&["webhook", "test", "w", "--json"]);
    let parsed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &parsed["delivered"]), (0, &json!(true)));
    std::fs::write(payload, "{").unwrap();
    assert_eq!(run(&["webhook", "test", "w", "--payload", payload]).0, 65);
    assert_eq!(run(&["webhook", "test", "nobody"]).0, 1);
    assert_eq!(run(&["webhook", "test", "w", "--event-type", "SOS_REPROT"]).0, 65);
}
