//! The program as applications and operators meet it: every answer of the ingest port, the admin
//! socket, the command line. No receiver is needed: deliveries go to a port where nobody listens.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;

const JSON: &str = "Content-Type: application/json";

fn webhook(name: &str) -> String {
    json!({
        "name": name, "url": "http://127.0.0.1:9/hook", "event_types": ["*"],
        "retry": {"count": 0, "interval_seconds": 1},
        "headers": [{"name": "X-Env", "value": "prod"}, {"name": "X-Key", "value": "canary-header", "secret": true}],
        "signing_key": "canary-key",
    })
    .to_string()
}

#[test]
fn ingest_answers_as_the_contract_says() {
    let daemon = Daemon::start("");
    let token = format!("Authorization: Bearer {}", daemon.token);
    let wrong = format!("{}x", &token[..token.len() - 1]);
    let big = "x".repeat(1_048_577);
    let large_header = format!("X-Large: {}", "y".repeat(40_000));
    let post = "POST /v1/events/SOS_REPORT";
    let host = "Host: 127.0.0.1:7780";
    let two = "Content-Length: 2";
    let big_length = format!("Content-Length: {}", big.len() + 70_000);
    let cases: &[(&str, u16, &str, &[&str], &str)] = &[
        ("accepted", 202, post, &[host, &token, JSON, two], "{}"),
        ("by label", 202, "POST /v1/events/sos%5freport", &[host, &token, JSON, two], "{}"),
        ("by wire name", 202, "POST /v1/events/IDENTIFICATION_CANCELLED", &[host, &token, JSON, two], "{}"),
        ("any JSON value", 202, post, &[host, &token, JSON, "Content-Length: 4"], "null"),
        ("a charset", 202, post, &[host, &token, "Content-Type: application/json; charset=utf-8", two], "{}"),
        ("not JSON", 400, post, &[host, &token, JSON, two], "{]"),
        ("no host", 400, post, &[&token, JSON, two], "{}"),
        ("a coding", 400, post, &[host, &token, JSON, "Transfer-Encoding: gzip, chunked"], "2\r\n{}\r\n0\r\n\r\n"),
        ("chunks", 202, post, &[host, &token, JSON, "Transfer-Encoding: chunked"], "2\r\n{}\r\n0\r\n\r\n"),
        ("two hosts", 400, post, &[host, host, &token, JSON, two], "{}"),
        ("empty key", 400, post, &[host, &token, JSON, two, "Idempotency-Key: "], "{}"),
        ("no token", 401, post, &[host, JSON, two], "{}"),
        ("wrong token", 401, post, &[host, &wrong, JSON, two], "{}"),
        ("prefix of the token", 401, post, &[host, &token[..token.len() - 1], JSON, two], "{}"),
        ("basic", 401, post, &[host, "Authorization: Basic eDp5", JSON, two], "{}"),
        ("a browser", 403, post, &[host, &token, JSON, two, "Origin: http://evil.example"], "{}"),
        ("a browser too", 403, post, &[host, &token, JSON, two, "Sec-Fetch-Site: same-origin"], "{}"),
        ("no such path", 404, "POST /v2/events", &[host, &token, JSON, two], "{}"),
        ("no reads", 405, "GET /v1/events", &[host, &token], ""),
        ("no deletes", 405, "DELETE /v1/events/SOS_REPORT", &[host, &token], ""),
        ("preflight", 405, "OPTIONS /v1/events/SOS_REPORT", &[host], ""),
        ("no length", 411, post, &[host, &token, JSON], ""),
        ("too large, as declared", 413, post, &[host, &token, JSON, &big_length], ""),
        ("no type", 415, post, &[host, &token, two], "{}"),
        ("text", 415, post, &[host, &token, "Content-Type: text/plain", two], "{}"),
        (
            "compressed",
            415,
            post,
            &[host, &token, "Content-Type: application/json", "Content-Encoding: gzip", two],
            "{}",
        ),
        ("a form", 415, post, &[host, &token, "Content-Type: application/x-www-form-urlencoded", two], "{}"),
        ("somebody else's name", 421, post, &["Host: evil.example", &token, JSON, two], "{}"),
        ("our name as a prefix", 421, post, &["Host: localhost.evil.example:7780", &token, JSON, two], "{}"),
        ("unknown type", 422, "POST /v1/events/SOS_REPROT", &[host, &token, JSON, two], "{}"),
        ("large head", 431, post, &[host, &token, JSON, two, &large_header], "{}"),
        ("health", 200, "GET /healthz", &[host], ""),
        ("health of another", 421, "GET /healthz", &["Host: evil.example"], ""),
    ];
    for (name, status, line, headers, body) in cases {
        let answer = daemon.request(line, headers, body.as_bytes());
        assert_eq!(answer.status, *status, "{name}: {answer:?}");
        assert!(answer.header("access-control-allow-origin").is_none(), "{name}: never an answer for browsers");
        // 431 is the HTTP library's own.
        if *status >= 400 && *status != 431 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
            assert_eq!(answer.json()["status"], *status, "{name}");
            assert!(!answer.body.contains(&daemon.token), "{name}");
        }
    }
    let accepted = daemon.admin("GET /v1/events", "").json();
    let expected = cases.iter().filter(|(_, status, ..)| *status == 202).count();
    assert_eq!(accepted["items"].as_array().unwrap().len(), expected, "nothing refused was stored");
    crate::rows::covered(&["T8"], "ingest_answers_as_the_contract_says", "401 for every wrong token, nothing stored");
}

#[test]
fn mistakes_are_named_for_those_who_made_them() {
    let daemon = Daemon::start("");
    let detail = |answer: crate::support::daemon::Answer| answer.json()["detail"].as_str().unwrap().to_owned();
    let malformed = detail(daemon.post("/v1/events/SOS_REPORT", "{\n  \"a\": }"));
    assert!(malformed.contains("line 2 column 8"), "{malformed}");
    let unknown = detail(daemon.post("/v1/events/AML%20MONITORIN", "{}"));
    assert!(unknown.contains("did you mean AML_MONITORING?"), "{unknown}");
    assert!(detail(daemon.post("/v1/events", "{\"type\":\"SOS_REPORT\"}")).contains("payload"));
}

#[test]
fn the_largest_payload_is_taken_and_one_byte_more_is_not() {
    let daemon = Daemon::start("[ingest]\nlisten = \"127.0.0.1:0\"\nmax_body_bytes = 4096\n");
    let payload = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", &payload(4096)).status, 202);
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", &payload(4097)).status, 413);
    let id = daemon.admin("GET /v1/events", "").json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(daemon.admin(&format!("GET /v1/events/{id}/payload"), "").body, payload(4096));
}

#[test]
fn the_same_key_is_the_same_event() {
    let mut daemon = Daemon::start("");
    let key = [JSON, "Idempotency-Key: order-7"];
    let first = daemon.post_with("/v1/events/SOS_REPORT", &key, "{\"id\":\"a\"}").json();
    assert_eq!(first["duplicate"], false);
    let check = |daemon: &Daemon| {
        let again = daemon.post_with("/v1/events/SOS_REPORT", &key, "{\"id\":\"a\"}");
        assert_eq!((again.status, again.json()["duplicate"].clone()), (202, json!(true)), "{again:?}");
        assert_eq!(again.json()["id"], first["id"]);
        let other = daemon.post_with("/v1/events/SOS_REPORT", &key, "{\"id\":\"b\"}");
        assert_eq!(other.status, 409, "{other:?}");
        let other_type = daemon.post_with("/v1/events/ACCOUNT_CHECK", &key, "{\"id\":\"a\"}");
        assert_eq!(other_type.status, 409, "{other_type:?}");
    };
    check(&daemon);
    daemon.kill();
    daemon.start_again();
    daemon.until("the index is ready", |daemon| {
        (daemon.admin("GET /v1/status", "").json()["index"]["state"] == "ready").then_some(())
    });
    check(&daemon);
    crate::rows::covered(&["T21"], "the_same_key_is_the_same_event", "one id, one delivery; 409 for another body");
}

#[test]
fn every_way_to_post_gives_the_same_payload() {
    let daemon = Daemon::start("");
    let payload = "{ \"scanRef\" : \"s-1\",\"n\":1.0 }";
    let structured = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/a\",\"type\":\"SOS_REPORT\",\"data\":{payload}}}"
    );
    let binary = [JSON, "ce-specversion: 1.0", "ce-id: 2", "ce-source: /a", "ce-type: SOS_REPORT"];
    let envelope = format!("{{\"type\":\"SOS_REPORT\",\"payload\":{payload}}}");
    let answers = [
        daemon.post("/v1/events/SOS_REPORT", payload),
        daemon.post("/v1/events", &envelope),
        daemon.post_with("/v1/events", &["Content-Type: application/cloudevents+json"], &structured),
        daemon.post_with("/v1/events", &binary, payload),
    ];
    let batch = format!("{envelope}\nnonsense\n{envelope}\n");
    let batch = daemon.post_with("/v1/events/batch", &["Content-Type: application/x-ndjson"], &batch);
    assert_eq!(batch.status, 207);
    let lines: Vec<Value> = batch.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[1]["status"].clone()), (3, json!(400)));
    let mut ids: Vec<String> = answers.iter().map(|answer| answer.json()["id"].as_str().unwrap().to_owned()).collect();
    ids.extend([&lines[0], &lines[2]].map(|line| line["id"].as_str().unwrap().to_owned()));
    for id in &ids {
        assert_eq!(daemon.admin(&format!("GET /v1/events/{id}/payload"), "").body, payload);
    }
    assert_eq!(daemon.admin("GET /v1/events?ref=s-1", "").json()["items"].as_array().unwrap().len(), ids.len());
}

#[test]
fn a_token_may_be_bound_to_types_and_revoked() {
    let mut daemon = Daemon::start("");
    let made = daemon.admin("POST /v1/keys", "{\"name\":\"kyc\",\"types\":[\"ID_VERIFICATION\"]}");
    assert_eq!(made.status, 201);
    let first = std::mem::replace(&mut daemon.token, made.json()["token"].as_str().unwrap().to_owned());
    assert_eq!(daemon.post("/v1/events/ID_VERIFICATION_EXPIRED", "{}").status, 202);
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 403);
    assert_eq!(daemon.admin("DELETE /v1/keys/kyc", "").status, 200);
    assert_eq!(daemon.post("/v1/events/ID_VERIFICATION_EXPIRED", "{}").status, 401);
    daemon.token = first;
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
    let listed = daemon.admin("GET /v1/keys", "").json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert!(listed["items"][0]["last_used_at"].is_string() && listed["items"][0]["token"].is_null());
}

#[test]
fn a_revoked_first_token_stays_revoked() {
    use std::os::unix::fs::MetadataExt as _;
    let mut daemon = Daemon::start("");
    let file = daemon.folder.path().join("state/ingest.token");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
    assert_eq!(daemon.admin("DELETE /v1/keys/default", "").status, 200);
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 401);
    assert_eq!(daemon.stop(), 0);
    daemon.start_again();
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 401);
    assert_eq!(daemon.admin("GET /v1/keys", "").json()["items"], json!([]));
}

#[test]
fn webhooks_are_made_changed_and_kept() {
    let mut daemon = Daemon::start("");
    let made = daemon.admin("POST /v1/webhooks", &webhook("aml"));
    assert_eq!(made.status, 201, "{made:?}");
    let view = made.json();
    assert_eq!(
        view["headers"],
        json!([{"name": "X-Env", "value": "prod"}, {"name": "X-Key", "secret": true, "set": true}])
    );
    assert_eq!((&view["version"], &view["signing_key"]["set"]), (&json!(1), &json!(true)));
    assert_eq!(daemon.admin("POST /v1/webhooks", &webhook("aml")).status, 409, "the name is taken");
    let changed = daemon.admin("PATCH /v1/webhooks/aml", "{\"version\":1,\"retry\":{\"count\":7},\"name\":\"aml-2\"}");
    assert_eq!((changed.status, changed.json()["retry"]["count"].clone()), (200, json!(7)));
    let stale = daemon.admin(
        "PATCH /v1/webhooks/aml-2",
        "{\"version\":1,\"name\":\"other\",\"signing_key\":{\"x\":\"canary-2\"},\"oauth\":{\"token\":\"canary-3\"}}",
    );
    assert_eq!((stale.status, stale.json()["current"]["version"].clone()), (409, json!(2)));
    assert_eq!(stale.json()["submitted"]["name"], "other");
    let wrong =
        daemon.admin("PATCH /v1/webhooks/aml-2", "{\"url\":\"http://10.0.0.1/\",\"timeout_seconds\":0,\"nam\":1}");
    let mut fields: Vec<String> = wrong.json()["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["field"].as_str().unwrap().to_owned())
        .collect();
    fields.sort();
    assert_eq!(
        (wrong.status, fields.as_slice()),
        (422, ["nam", "timeout_seconds", "url"].map(String::from).as_slice())
    );
    assert!(wrong.body.contains("[egress] allow = [\\\"10.0.0.1/32\\\"]"), "{}", wrong.body);
    daemon.kill();
    daemon.start_again();
    let kept = daemon.admin("GET /v1/webhooks/aml-2", "").json();
    assert_eq!((&kept["version"], &kept["signing_key"]["set"]), (&json!(2), &json!(true)));
    for answer in [&made.body, &stale.body, &kept.to_string()] {
        assert!(!answer.contains("canary"), "{answer}");
    }
}

#[test]
fn a_deleted_webhook_withdraws_its_deliveries_and_gives_them_back() {
    let daemon = Daemon::start("");
    daemon.admin("POST /v1/webhooks", &webhook("w"));
    daemon.admin("POST /v1/webhooks/w/pause", "");
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{\"scanRef\":\"s\"}").json()["deliveries"], 1);
    let state = || daemon.admin("GET /v1/deliveries?ref=s", "").json()["items"][0].clone();
    assert_eq!((state()["state"].clone(), state()["hold"].clone()), (json!("pending"), json!("paused")));
    assert_eq!(daemon.admin("DELETE /v1/webhooks/w", "").status, 200);
    assert_eq!(state()["state"], "cancelled");
    assert_eq!(daemon.admin("GET /v1/deliveries?state=cancelled", "").json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.admin("GET /v1/webhooks/w", "").status, 404);
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").json()["deliveries"], 0);
    assert_eq!(daemon.admin("POST /v1/webhooks/w/restore", "").status, 200);
    assert_eq!(state()["state"], "pending");
    daemon.admin("POST /v1/webhooks/w/resume", "");
    let failed = daemon.until("it is tried and fails", |_| Some(state()).filter(|one| one["state"] == "failed"));
    assert_eq!((failed["last_code"].clone(), failed["last_error"].clone()), (json!(0), json!("refused")));
    assert_eq!(failed["last_class"], "0");
}

#[test]
fn deliveries_are_found_by_every_filter_and_page_by_page() {
    let daemon = Daemon::start("");
    daemon.admin("POST /v1/webhooks", &webhook("one"));
    daemon.admin("POST /v1/webhooks", &webhook("two"));
    for number in 0..25 {
        let payload = format!("{{\"scanRef\":\"scan-{number:02}\",\"clientId\":\"client\",\"word\":\"w{number}w\"}}");
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", &payload).status, 202);
    }
    daemon.until("all have failed", |daemon| (daemon.admin("GET /v1/status", "").json()["pending"] == 0).then_some(()));
    let count = |filter: &str| {
        let answer = daemon.admin(&format!("GET /v1/deliveries?limit=500&{filter}"), "");
        assert_eq!(answer.status, 200, "{filter}: {answer:?}");
        answer.json()["items"].as_array().unwrap().len()
    };
    let expected = [
        ("", 50),
        ("ref=scan-07", 2),
        ("ref=scan-0", 20),
        ("ref=client", 50),
        ("ref=scan-99", 0),
        ("webhook=one", 25),
        ("webhook=nobody", 0),
        ("type=sos%20report", 50),
        ("type=ACCOUNT_CHECK", 0),
        ("class=0", 50),
        ("class=0,5xx", 50),
        ("class=2xx", 0),
        ("code=0", 50),
        ("code=200", 0),
        ("state=failed", 50),
        ("state=pending", 0),
        ("q=w7w", 2),
        ("q=W7W&webhook=two", 1),
        ("since=2020-01-01T00:00:00Z", 50),
        ("until=2020-01-01T00:00:00Z", 0),
        ("ref=scan-07&webhook=two&state=failed&class=0", 1),
    ];
    for (filter, number) in expected {
        assert_eq!(count(filter), number, "{filter}");
    }
    for (filter, status) in
        [("class=6xx", 400), ("state=done", 400), ("limit=0", 400), ("cursor=!", 400), ("colour=red", 400)]
    {
        assert_eq!(daemon.admin(&format!("GET /v1/deliveries?{filter}"), "").status, status, "{filter}");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = daemon.admin(&format!("GET /v1/deliveries?limit=7&cursor={cursor}"), "").json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        // What arrives meanwhile is newer than where the reader is.
        daemon.post("/v1/events/ACCOUNT_CHECK", "{}");
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!((seen.len(), &sorted), (50, &seen), "each once, newest first");
}

#[test]
fn the_command_line_says_what_the_socket_says() {
    let daemon = Daemon::start("");
    let run = |arguments: &[&str]| {
        let output = daemon.cli(arguments);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, made, _) = run(&[
        "webhook",
        "create",
        "--name",
        "w",
        "--url",
        "http://127.0.0.1:9/",
        "--event-type",
        "sos report",
        "--retry-count",
        "0",
        "--json",
    ]);
    assert_eq!(
        (code, serde_json::from_str::<Value>(&made).unwrap()["event_types"].clone()),
        (0, json!(["SOS_REPORT"]))
    );
    std::fs::write(daemon.folder.path().join("event.json"), "{\"scanRef\":\"cli-1\"}").unwrap();
    let file = daemon.folder.path().join("event.json");
    assert_eq!(run(&["event", "send", "SOS_REPORT", file.to_str().unwrap()]).0, 0);
    daemon.until("it has failed", |_| {
        run(&["delivery", "list", "--state", "failed", "--json"]).1.contains("cli-1").then_some(())
    });
    let line = run(&["delivery", "list", "--ref", "cli-", "--json"]).1;
    let id = serde_json::from_str::<Value>(&line).unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(run(&["delivery", "payload", &id]).1, "{\"scanRef\":\"cli-1\"}");
    assert!(run(&["delivery", "show", &id]).1.contains("refused"));
    assert_eq!(run(&["delivery", "resend", &id]).0, 0);
    daemon.until("it was tried again", |_| {
        run(&["delivery", "show", &id, "--json"]).1.contains("\"number\":2").then_some(())
    });
    let (code, status, _) = run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, &status["ingest"]["accepting"]), (0, &json!(true)));
    for field in [
        "version",
        "pid",
        "uptime_seconds",
        "pending",
        "oldest_pending_seconds",
        "failing_webhooks",
        "journal",
        "index",
        "disk",
    ] {
        assert!(status.get(field).is_some(), "{field}");
    }
    assert_eq!(status["failing_webhooks"], json!(["w"]));
    assert_eq!(run(&["verify"]).0, 0);
    assert_eq!(run(&["webhook", "show", "nobody"]).0, 1);
    assert_eq!(run(&["webhook", "delete", "w"]).0, 64, "asks for --yes where there is no terminal");
    assert_eq!(run(&["webhook", "set", "w", "retry.count=999"]).0, 65);
    assert_eq!(run(&["frobnicate"]).0, 64);
    assert_eq!(run(&["--socket", "/nonexistent/admin.sock", "status"]).0, 69);
    let config = daemon.folder.path().join("postrider.toml");
    assert_eq!(run(&["check-config", config.to_str().unwrap(), "--quiet"]).0, 0);
    std::fs::write(&config, "[ingest]\nlisten = 5\nlisteen = \"x\"\n").unwrap();
    let (code, _, problems) = run(&["check-config", config.to_str().unwrap()]);
    assert_eq!(code, 78);
    assert!(problems.contains(":2:") && problems.contains(":3:") && problems.contains("listen"), "{problems}");
}

#[test]
fn it_stops_in_good_order_and_nothing_of_a_secret_lies_about() {
    let mut daemon = Daemon::start("[log]\nlevel = \"trace\"\n");
    daemon.admin("POST /v1/webhooks", &webhook("w"));
    daemon.post("/v1/events/SOS_REPORT", "{\"scanRef\":\"canary-payload\"}");
    daemon.until("it was tried", |daemon| (daemon.admin("GET /v1/status", "").json()["pending"] == 0).then_some(()));
    assert_eq!(daemon.stop(), 0);
    let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap();
    assert!(!log.contains("canary") && !log.contains(&daemon.token), "{log}");
    let mut folders = vec![daemon.folder.path().join("state")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            for canary in ["canary-key", "canary-header"] {
                let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
                assert!(!found, "{canary} in {}", path.display());
            }
        }
    }
    assert!(files >= 6, "the store was there");
}
