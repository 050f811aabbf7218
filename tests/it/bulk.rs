//! Many deliveries at once: counted, resent and cancelled by a filter, at a rate, and stopped; and
//! what whoever sends old payloads again should know of them.

use std::collections::HashMap;

use postrider::admin::server::RUNNING_MAX;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;

fn webhook(name: &str) -> String {
    let key = json!({"name": "X-Key", "value": "canary's", "secret": true});
    json!({
        "name": name, "url": "http://127.0.0.1:9/hook?it's=$HOME", "event_types": ["*"],
        "retry": {"count": 0, "interval_seconds": 1},
        "headers": [{"name": "X-Env", "value": "it's `prod`"}, key],
    })
    .to_string()
}

/// Two webhooks, and so many events that failed at both.
fn failed(events: usize) -> Daemon {
    let daemon = Daemon::start("");
    for name in ["one", "two"] {
        assert_eq!(daemon.admin("POST /v1/webhooks", &webhook(name)).status, 201);
    }
    post(&daemon, 0..events);
    until_idle(&daemon);
    daemon
}

fn post(daemon: &Daemon, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let payload = format!("{{\"scanRef\":\"scan-{number:02}\",\"word\":\"w{number}w\"}}");
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", &payload).status, 202);
    }
}

fn until_idle(daemon: &Daemon) {
    daemon.until("nothing is pending", |daemon| {
        (daemon.admin("GET /v1/status", "").json()["pending"] == 0).then_some(())
    });
}

fn deliveries(daemon: &Daemon, filter: &str) -> Vec<Value> {
    let page = daemon.admin(&format!("GET /v1/deliveries?limit=500&{filter}"), "").json();
    page["items"].as_array().unwrap().clone()
}

fn attempts(daemon: &Daemon, delivery: &Value) -> usize {
    let id = delivery["id"].as_str().unwrap();
    daemon.admin(&format!("GET /v1/deliveries/{id}"), "").json()["attempts"].as_array().unwrap().len()
}

fn start(daemon: &Daemon, path: &str, request: &Value) -> Value {
    let answer = daemon.admin(&format!("POST /v1/{path}"), &request.to_string());
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()
}

fn until_over(daemon: &Daemon, job: &Value) -> Value {
    let path = format!("GET /v1/jobs/{}", job["id"].as_str().unwrap());
    daemon
        .until("the job is over", |daemon| Some(daemon.admin(&path, "").json()).filter(|job| job["state"] != "running"))
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    let daemon = failed(12);
    let count = |path: &str, filter: Value| {
        let request = json!({"filter": filter, "dry_run": true, "all": true});
        let answer = daemon.admin(&format!("POST /v1/{path}"), &request.to_string());
        assert_eq!(answer.status, 200, "{request}: {answer:?}");
        answer.json()
    };
    let all = count("resend", json!({}));
    assert_eq!((&all["matched"], &all["complete"]), (&json!(24), &json!(true)));
    assert_eq!(all["by_webhook"], json!({"one": 12, "two": 12}));
    assert_eq!(all["dead_links"], json!({"sampled": 24, "with": 0}));
    let (newest, oldest) = (&deliveries(&daemon, "")[0], &deliveries(&daemon, "")[23]);
    assert_eq!((&all["newest"], &all["oldest"]), (&newest["created_at"], &oldest["created_at"]));
    for (filter, matched) in [
        (json!({"webhook": "one"}), 12),
        (json!({"ref": "scan-07"}), 2),
        (json!({"ref": "scan-0", "webhook": "two"}), 10),
        (json!({"q": "W7W"}), 2),
        (json!({"type": "sos report", "class": "0,5xx", "code": 0}), 24),
        (json!({"class": ["0", "5xx"], "code": [200, "0"]}), 24),
        (json!({"code": [200, 503]}), 0),
        (json!({"state": "delivered"}), 0),
        (json!({"state": ["delivered", "failed"]}), 24),
        (json!({"state": "delivered,failed", "webhook": "one", "q": null, "ref": null}), 12),
        (json!({"until": "2020-01-01T00:00:00Z"}), 0),
        (json!({"since": "2020-01-01T00:00:00Z", "until": "2120-01-01T00:00:00Z"}), 24),
    ] {
        assert_eq!(count("resend", filter.clone())["matched"], matched, "{filter}");
    }
    let cancel = count("cancel", json!({}));
    assert_eq!((&cancel["matched"], &cancel["dead_links"]), (&json!(0), &Value::Null), "only what is pending");
    assert!(deliveries(&daemon, "").iter().all(|one| one["state"] == "failed" && attempts(&daemon, one) == 1));
    assert_eq!(daemon.admin("GET /v1/jobs", "").json()["items"], json!([]));
}

#[test]
fn what_is_not_meant_is_refused() {
    let daemon = Daemon::start("");
    for (request, field) in [
        (json!({}), "filter"),
        (json!({"filter": {"ref": null, "q": null}}), "filter"),
        (json!({"filter": {"colour": "red"}}), "filter.colour"),
        (json!({"filter": {"webhook": "nobody"}}), "filter.webhook"),
        (json!({"filter": {"state": ["failed", "done"]}}), "filter.state"),
        (json!({"filter": {"class": "9xx"}}), "filter.class"),
        (json!({"filter": {"code": "many"}}), "filter.code"),
        (json!({"filter": {"since": "yesterday"}}), "filter.since"),
        (json!({"filter": {"ref": ["a", "b"]}}), "filter.ref"),
        (json!({"filter": {"ref": "a"}, "rate_per_second": 0}), "rate_per_second"),
        (json!({"filter": {"ref": "a"}, "rate_per_second": 1001}), "rate_per_second"),
    ] {
        for dry_run in [true, false] {
            let mut request = request.clone();
            request["dry_run"] = dry_run.into();
            let answer = daemon.admin("POST /v1/resend", &request.to_string());
            assert_eq!((answer.status, &answer.json()["problems"][0]["field"]), (422, &json!(field)), "{request}");
        }
    }
    let failed = json!({"filter": {"state": "failed"}}).to_string();
    assert_eq!(daemon.admin("POST /v1/cancel", &failed).json()["problems"][0]["field"], "filter.state");
    for (line, body, status) in [
        ("POST /v1/resend", "", 400),
        ("POST /v1/resend", "{\"al\":true}", 400),
        ("GET /v1/resend", "", 405),
        ("GET /v1/jobs/job_none", "", 404),
        ("POST /v1/jobs/job_none/stop", "", 404),
        ("PUT /v1/jobs/job_none", "{}", 405),
    ] {
        assert_eq!(daemon.admin(line, body).status, status, "{line} {body}");
    }
    assert_eq!(daemon.admin("GET /v1/jobs", "").json()["items"], json!([]));
}

#[test]
fn a_filter_is_resent_once_each() {
    let daemon = failed(12);
    let request = json!({"filter": {"webhook": "one"}, "rate_per_second": 1000});
    let job = start(&daemon, "resend", &request);
    assert_eq!((&job["kind"], &job["matched"], &job["complete"]), (&json!("resend"), &json!(12), &json!(true)));
    assert!(job["id"].as_str().unwrap().starts_with("job_") && job["started_at"].is_string());
    let over = until_over(&daemon, &job);
    assert_eq!((&over["state"], &over["changed"], &over["done"]), (&json!("done"), &json!(12), &json!(12)));
    assert!(over["finished_at"].is_string() && over["rate_per_second"] == 1000, "{over}");
    until_idle(&daemon);
    for (name, expected) in [("one", 2), ("two", 1)] {
        let found = deliveries(&daemon, &format!("webhook={name}"));
        assert_eq!(found.len(), 12);
        found.iter().for_each(|one| assert_eq!(attempts(&daemon, one), expected, "{name}"));
    }
    assert_eq!(daemon.admin("GET /v1/jobs", "").json()["items"], json!([over]));
    let again = daemon.admin(&format!("DELETE /v1/jobs/{}", over["id"].as_str().unwrap()), "");
    assert_eq!((again.status, again.json()), (200, over), "what is over stays as it was");
}

#[test]
fn everything_pending_is_cancelled_and_what_has_nowhere_to_go_is_skipped() {
    let daemon = failed(3);
    daemon.admin("POST /v1/webhooks/one/pause", "");
    post(&daemon, 10..15);
    daemon.until("two has tried its own", |daemon| {
        (deliveries(daemon, "webhook=two&state=failed").len() == 8).then_some(())
    });
    let job = start(&daemon, "cancel", &json!({"all": true, "rate_per_second": 1000}));
    let over = until_over(&daemon, &job);
    assert_eq!((&over["matched"], &over["changed"], &over["skipped"]), (&json!(5), &json!(5), &json!(0)));
    assert_eq!(deliveries(&daemon, "state=cancelled&webhook=one").len(), 5);
    assert_eq!(deliveries(&daemon, "state=failed&webhook=one").len(), 3);
    assert_eq!(daemon.admin("DELETE /v1/webhooks/two", "").status, 200);
    let job = start(&daemon, "resend", &json!({"filter": {"ref": "scan-"}, "rate_per_second": 1000}));
    let over = until_over(&daemon, &job);
    assert_eq!((&over["matched"], &over["changed"], &over["skipped"]), (&json!(11), &json!(3), &json!(8)));
}

#[test]
fn a_job_can_be_stopped_and_ends_with_the_daemon() {
    let mut daemon = failed(5);
    let slow = json!({"filter": {"ref": "scan-"}, "rate_per_second": 1});
    let jobs: Vec<Value> = (0..RUNNING_MAX).map(|_| start(&daemon, "resend", &slow)).collect();
    assert_eq!(daemon.admin("POST /v1/resend", &slow.to_string()).status, 409, "enough are under way");
    for (line, job) in [("POST", &jobs[0]), ("DELETE", &jobs[1])] {
        let end = if line == "POST" { "/stop" } else { "" };
        let answer = daemon.admin(&format!("{line} /v1/jobs/{}{end}", job["id"].as_str().unwrap()), "");
        let stopped = answer.json();
        assert_eq!((answer.status, &stopped["state"]), (200, &json!("stopped")));
        assert!(stopped["done"].as_u64().unwrap() < 10, "{stopped}");
    }
    start(&daemon, "resend", &slow);
    assert_eq!(daemon.stop(), 0);
    daemon.start_again();
    assert_eq!(daemon.admin("GET /v1/jobs", "").json()["items"], json!([]));
    daemon.until("the index is ready", |daemon| {
        (daemon.admin("GET /v1/status", "").json()["index"]["state"] == "ready").then_some(())
    });
    assert_eq!(deliveries(&daemon, "").len(), 10);
}

fn run(daemon: &Daemon, arguments: &[&str]) -> (i32, String, String) {
    let output = daemon.cli(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_counts_asks_and_follows() {
    let daemon = failed(6);
    let run = |line: &str| run(&daemon, &line.split(' ').collect::<Vec<_>>());
    let (code, _, asked) = run("delivery resend --webhook one");
    assert_eq!(code, 64, "{asked}");
    assert!(asked.contains("one: 6") && asked.contains("6 deliveries will be resent") && asked.contains("--yes"));
    let (code, counted, _) = run("delivery resend --webhook one --dry-run");
    assert!(code == 0 && counted.contains("6 deliveries"), "{counted}");
    let (code, counted, _) = run("delivery resend --ref scan-01 --dry-run --json");
    assert_eq!((code, serde_json::from_str::<Value>(&counted).unwrap()["matched"].clone()), (0, json!(2)));
    for line in ["delivery resend", "delivery resend dlv_1 --all", "delivery cancel dlv_1 --dry-run"] {
        assert_eq!(run(line).0, 64, "{line}");
    }
    assert!(deliveries(&daemon, "").iter().all(|one| attempts(&daemon, one) == 1), "nothing was changed so far");
    let (code, said, _) = run("delivery resend --webhook one --class 0 --since 1h --rate 1000 --yes");
    assert_eq!((code, said.as_str()), (0, "6 of 6 resent.\n"));
    until_idle(&daemon);
    let (code, job, _) = run("delivery resend --all --rate 1000 --yes --json");
    let job: Value = serde_json::from_str(&job).unwrap();
    assert_eq!((code, &job["state"], &job["changed"]), (0, &json!("done"), &json!(12)));
    until_idle(&daemon);
    assert_eq!(attempts(&daemon, &deliveries(&daemon, "webhook=one")[0]), 3);
    daemon.admin("POST /v1/webhooks/one/pause", "");
    post(&daemon, 20..22);
    let (code, said, _) = run("delivery cancel --webhook one --yes");
    assert_eq!((code, said.as_str()), (0, "2 of 2 cancelled.\n"));
    assert_eq!(run("delivery resend --webhook nobody --yes").0, 65);
}

#[test]
fn an_interruption_stops_the_job() {
    let daemon = failed(10);
    let state = daemon.folder.path().join("state");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_postrider"))
        .args(["--state-dir", state.to_str().unwrap(), "delivery", "resend", "--all", "--yes", "--rate", "1"])
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    daemon.until("something was resent", |daemon| {
        let jobs = daemon.admin("GET /v1/jobs", "").json();
        jobs["items"][0]["changed"].as_u64().filter(|changed| *changed > 0)
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let code = child.wait().unwrap().code();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
    assert_eq!(code, Some(1));
    assert!(said.contains(" of 20 resent"), "{said}");
    let job = daemon.admin("GET /v1/jobs", "").json()["items"][0].clone();
    assert_eq!(job["state"], "stopped");
    assert!(said.starts_with(&format!("{} of 20", job["changed"])), "{said} {job}");
}

#[test]
fn links_that_no_longer_work_are_told_of() {
    let daemon = Daemon::start("");
    daemon.admin("POST /v1/webhooks", &webhook("w"));
    let dead = "https://files.example/FRONT.png?Expires=1760003600&Signature=x";
    let alive = "https://files.example/BACK.png?Expires=9999999999&Signature=x";
    let payload = json!({"scanRef": "old", "fileUrls": {"FRONT": dead, "BACK": alive}}).to_string();
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", &payload).status, 202);
    let fresh = json!({"scanRef": "new", "fileUrls": {"FRONT": "https://files.example/FRONT.png"}}).to_string();
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", &fresh).status, 202);
    until_idle(&daemon);
    let show = |reference: &str| {
        let listed = deliveries(&daemon, &format!("ref={reference}"))[0].clone();
        assert!(listed.get("dead_links").is_none(), "not for lists");
        let id = listed["id"].as_str().unwrap().to_owned();
        (daemon.admin(&format!("GET /v1/deliveries/{id}"), "").json()["dead_links"].clone(), id)
    };
    let ((old, old_id), (new, new_id)) = (show("old"), show("new"));
    assert_eq!((old, new), (json!(1), json!(0)));
    let count = daemon.admin("POST /v1/resend", "{\"all\":true,\"dry_run\":true}").json();
    assert_eq!(count["dead_links"], json!({"sampled": 2, "with": 1}));
    let resend = |id: &str| daemon.admin(&format!("POST /v1/deliveries/{id}/resend"), "");
    let warned = resend(&old_id);
    assert_eq!((warned.status, warned.json()["warnings"].as_array().unwrap().len()), (202, 1));
    assert!(warned.json()["warnings"][0].as_str().unwrap().ends_with(": /fileUrls/FRONT"), "{warned:?}");
    assert_eq!(resend(&new_id).json(), json!({"done": true}));
    let (code, _, said) = run(&daemon, &["delivery", "resend", &old_id]);
    assert!(code == 0 && said.contains("warning:") && said.contains("/fileUrls/FRONT"), "{said}");
    let (_, said, _) = run(&daemon, &["delivery", "resend", &old_id, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["warnings"].as_array().unwrap().len(), 1);
    assert!(run(&daemon, &["delivery", "show", &old_id]).1.contains("1 likely"));
}

#[test]
fn lists_come_as_values_and_a_request_as_a_command() {
    let daemon = Daemon::start("");
    daemon.admin("POST /v1/webhooks", &webhook("w"));
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{\"scanRef\":\"=cmd|'a,\\\"b\"}").status, 202);
    until_idle(&daemon);
    let read = |arguments: &[&str]| {
        let (code, text, err) = run(&daemon, arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let rows: Vec<HashMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
        rows
    };
    let rows = read(&["delivery", "list", "--format", "csv"]);
    assert_eq!((rows.len(), rows[0]["scan_ref"].as_str()), (1, "'=cmd|'a,\"b"));
    assert_eq!((rows[0]["last_code"].as_str(), rows[0]["last_error"].as_str()), ("0", "refused"));
    assert_eq!(rows[0]["next_attempt_at"], "");
    let events = read(&["event", "list", "--format", "csv"]);
    assert_eq!((events[0]["type"].as_str(), events[0]["deliveries"].as_str()), ("SOS_REPORT", "1"));
    let lines = |format: &str| run(&daemon, &["delivery", "list", "--format", format]).1;
    assert!(lines("json").starts_with('{') && lines("table").starts_with("CREATED"));
    assert_eq!(run(&daemon, &["delivery", "list", "--format", "csv", "--json"]).0, 64);

    let id = &rows[0]["id"];
    assert!(run(&daemon, &["delivery", "show", id]).1.contains("0 (no response: refused)"));
    let (code, command, said) = run(&daemon, &["delivery", "show", id, "--curl"]);
    assert_eq!(code, 0);
    assert!(!command.contains("canary") && said.contains("SECRET_X_KEY"), "{command}{said}");
    let functions = r#"postrider() { :; }; curl() { for word in "$@"; do printf '%s\n' "$word"; done; }; "#;
    let shell = std::process::Command::new("/bin/sh")
        .args(["-uc", &format!("{functions}{command}")])
        .env_clear()
        .env("SECRET_X_KEY", "it's \"$HOME\"")
        .output()
        .unwrap();
    let words: Vec<String> = String::from_utf8(shell.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(words.last().map(String::as_str), Some("http://127.0.0.1:9/hook?it%27s=$HOME"));
    for word in ["x-env: it's `prod`", "x-key: it's \"$HOME\"", "--no-location", "@-", "POST"] {
        assert!(words.iter().any(|one| one == word), "{word}: {words:?}");
    }
}

#[test]
fn a_word_that_is_empty_does_not_mean_everything() {
    let daemon = Daemon::start("");
    for filter in [
        json!({"code": ","}),
        json!({"state": ""}),
        json!({"webhook": "", "state": "pending"}),
        json!({"class": ["5xx", ""]}),
        json!({"code": []}),
    ] {
        for verb in ["cancel", "resend"] {
            let body = json!({"filter": filter, "dry_run": true}).to_string();
            let answer = daemon.admin(&format!("POST /v1/{verb}"), &body);
            assert_eq!(answer.status, 422, "{verb} {filter}: {answer:?}");
        }
    }
    let output = daemon.cli(&["delivery", "cancel", "--webhook", "", "--state", "pending", "--yes"]);
    assert!(!output.status.success(), "{output:?}");
}
