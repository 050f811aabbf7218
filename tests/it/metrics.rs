//! Metrics as a scraper reads them: both formats, on the port and on the socket, whatever webhooks are called and however many
//! there are. And `doctor` and `status --check`, which judge by the same numbers.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;

/// Samples by their series. Fails on a line that is none, and on a series that is told twice.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut typed = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap().to_owned();
            assert!(!typed.contains(&name), "{name} is declared twice");
            typed.push(name);
            continue;
        }
        if line.starts_with("# ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let value = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
        assert!(typed.iter().any(|name| series.starts_with(name)), "{series} has no type");
        assert!(samples.insert(series.to_owned(), value).is_none(), "{series} is told twice");
    }
    samples
}

fn webhook(name: &str) -> String {
    let retry = json!({"count": 1, "interval_seconds": 3600});
    json!({"name": name, "url": "http://127.0.0.1:9/hook", "event_types": ["*"], "retry": retry}).to_string()
}

fn get(address: &str, line: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_happened_can_be_scraped_on_the_port_and_on_the_socket() {
    let daemon = Daemon::start("[metrics]\nlisten = \"127.0.0.1:0\"\n");
    for name in ["aml", "qu\"o\\te"] {
        assert_eq!(daemon.admin("POST /v1/webhooks", &webhook(name)).status, 201);
    }
    for _ in 0..3 {
        assert_eq!(daemon.post("/v1/events/AML_MONITORING", "{}").status, 202);
    }
    assert_eq!(daemon.post("/v1/events/AML_MONITORING", "{").status, 400);
    let text = daemon.until("six attempts", |daemon| {
        let text = daemon.admin("GET /metrics", "").body;
        let samples = samples(&text);
        let of =
            |name: &str| samples.get(&format!("postrider_attempts_total{{webhook=\"{name}\",class=\"0\"}}")).copied();
        (of("aml") == Some(3.0) && of("qu\\\"o\\\\te") == Some(3.0)).then_some(text)
    });
    let found = samples(&text);
    let is = |series: &str, value: f64| assert_eq!(found.get(series), Some(&value), "{series}");
    is("postrider_events_accepted_total", 3.0);
    is("postrider_events_refused_total", 1.0);
    is("postrider_accepting", 1.0);
    is("postrider_pending_deliveries{webhook=\"aml\"}", 3.0);
    is("postrider_attempt_errors_total{webhook=\"aml\",error=\"refused\"}", 3.0);
    is("postrider_attempt_duration_seconds_count{webhook=\"aml\"}", 3.0);
    is("postrider_attempt_duration_seconds_bucket{webhook=\"aml\",le=\"+Inf\"}", 3.0);
    is("postrider_attempts_total{webhook=\"aml\",class=\"2xx\"}", 0.0);
    is("postrider_journal_failed", 0.0);
    assert!(found["process_resident_memory_bytes"] > 1e6 && found["process_open_fds"] > 5.0);
    // None of the two leads to another page, and nothing can be done there.
    let status = daemon.admin("GET /v1/status", "").json();
    let port = status["metrics_listen"].as_str().unwrap();
    let scraped = get(port, "GET /metrics");
    assert!(scraped.starts_with("HTTP/1.1 200") && scraped.contains("text/plain; version=0.0.4"), "{scraped}");
    assert!(scraped.contains("postrider_events_accepted_total 3"));
    for (line, code) in [("GET /v1/status", 404), ("POST /metrics", 405), ("GET /", 404), ("GET /metrics/x", 404)] {
        assert!(get(port, line).starts_with(&format!("HTTP/1.1 {code}")), "{line}");
    }
    let open =
        daemon.admin_as("GET /metrics", &["Accept: application/openmetrics-text; version=1.0.0, text/plain;q=0.5"], "");
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let body = open.body.strip_suffix("# EOF\n").expect("an end");
    assert!(samples(body).len() >= found.len(), "both formats tell the same");
}

#[test]
fn webhooks_that_are_many_or_look_alike_make_no_scrape_useless() {
    let daemon = Daemon::start("");
    // As one would write the other, if it could not be written as it is.
    for name in ["x\u{202e}y", "x\\u{202e}y", "x<U+202E>y"] {
        assert_eq!(daemon.admin("POST /v1/webhooks", &webhook(name)).status, 201, "{name:?}");
    }
    for number in 0..510 {
        assert_eq!(daemon.admin("POST /v1/webhooks", &webhook(&format!("w{number}"))).status, 201);
    }
    let found = samples(&daemon.admin("GET /metrics", "").body);
    let series = found.keys().filter(|series| series.starts_with("postrider_webhook_active{")).count();
    assert_eq!(series, 501);
    assert_eq!(found["postrider_pending_deliveries{webhook=\"/others\"}"], 0.0);
    assert!(found.keys().all(|series| !series.contains('\u{202e}')));
}

#[test]
fn doctor_and_check_say_what_is_wrong_and_end_accordingly() {
    let mut daemon = Daemon::start("[email]\nsmtp = \"\"\n");
    let checked = daemon.cli(&["status", "--check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(
        String::from_utf8_lossy(&checked.stdout).starts_with("POSTRIDER OK - 0 pending, 0 webhooks"),
        "{checked:?}"
    );
    let told = daemon.cli(&["doctor", "--json", "--deep"]);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let lines: Vec<Value> =
        String::from_utf8_lossy(&told.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdict = |name: &str| lines.iter().find(|line| line["check"] == name).map(|line| line["verdict"].clone());
    assert_eq!(verdict("daemon"), Some("ok".into()));
    assert_eq!(verdict("store"), Some("ok".into()));
    assert_eq!(verdict("mail"), Some("warn".into()));
    assert_eq!(verdict("webhooks"), Some("warn".into()));

    assert_eq!(daemon.admin("POST /v1/webhooks", &webhook("bad")).status, 201);
    for _ in 0..3 {
        assert_eq!(daemon.post("/v1/events/AML_MONITORING", "{}").status, 202);
    }
    daemon.until("the webhook counts as failing", |daemon| {
        (daemon.admin("GET /v1/status", "").json()["failing_webhooks"] == json!(["bad"])).then_some(())
    });
    let checked = daemon.cli(&["status", "--check"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.code() == Some(1) && said.starts_with("POSTRIDER WARNING - 1 failing: bad"), "{said}");
    assert!(said.contains("| pending=3;10000;100000;0 oldest="), "{said}");
    let critical = daemon.cli(&["status", "--check", "--pending", "1,2"]);
    assert_eq!(critical.status.code(), Some(2));
    assert_eq!(daemon.cli(&["status", "--check", "--pending", "2,1"]).status.code(), Some(64));
    assert_eq!(daemon.cli(&["status", "--pending", "1,2"]).status.code(), Some(64), "a threshold without --check");
    let told = daemon.cli(&["doctor"]);
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.code() == Some(1) && said.contains("FAIL webhooks"), "{said}");

    daemon.stop();
    let checked = daemon.cli(&["status", "--check"]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&checked.stdout).starts_with("POSTRIDER CRITICAL - the daemon cannot be reached"));
    let told = daemon.cli(&["doctor"]);
    assert_eq!(told.status.code(), Some(1));
}
