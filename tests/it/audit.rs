//! The audit log as operators meet it: one entry for each change, by whom, and never a secret.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;

fn webhook(name: &str) -> String {
    json!({
        "name": name, "url": "http://127.0.0.1:9/hook", "event_types": ["*"],
        "retry": {"count": 0, "interval_seconds": 1},
        "headers": [{"name": "X-Env", "value": "prod"}, {"name": "X-Key", "value": "canary-header", "secret": true}],
        "signing_key": "canary-key",
    })
    .to_string()
}

/// Entries that match, oldest first, without what the daemon notes of itself.
fn entries(daemon: &Daemon, query: &str) -> Vec<Value> {
    let answer = daemon.admin(&format!("GET /v1/audit?limit=500&{query}"), "");
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    let mut items = answer.json()["items"].as_array().unwrap().clone();
    items.retain(|one| !one["action"].as_str().unwrap().starts_with("daemon."));
    items.reverse();
    items
}

fn actions(daemon: &Daemon, query: &str) -> Vec<String> {
    entries(daemon, query).iter().map(|one| one["action"].as_str().unwrap().to_owned()).collect()
}

fn until_ready(daemon: &Daemon) {
    daemon.until("the index is ready", |daemon| {
        (daemon.admin("GET /v1/status", "").json()["index"]["state"] == "ready").then_some(())
    });
}

/// Some bytes in any file below a folder.
fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        std::fs::read(path).unwrap_or_default().windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// Every write there is, in an order in which each has something to do, with what it is noted as.
const WRITES: &[(&str, &str, &str)] = &[
    ("PATCH /v1/webhooks/w", "{\"retry\":{\"count\":1},\"url\":\"http://127.0.0.1:9/other\"}", "webhook.edit"),
    ("PATCH /v1/webhooks/w", "{\"signing_key\":\"canary-second\"}", "webhook.edit"),
    (
        "PATCH /v1/webhooks/w",
        "{\"headers\":[{\"name\":\"X-Key\",\"value\":\"canary-third\",\"secret\":true}]}",
        "webhook.edit",
    ),
    ("POST /v1/webhooks/w/rotate-key", "{\"signing_key\":\"canary-fourth\"}", "webhook.rotate-key"),
    ("POST /v1/webhooks/w/pause", "", "webhook.pause"),
    ("POST /v1/webhooks/w/resume", "", "webhook.resume"),
    ("DELETE /v1/webhooks/w", "", "webhook.delete"),
    ("POST /v1/webhooks/w/restore", "", "webhook.restore"),
    ("PATCH /v1/webhooks/w", "{\"name\":\"renamed\"}", "webhook.edit"),
    ("POST /v1/keys", "{\"name\":\"kyc\",\"types\":[\"SOS_REPORT\"]}", "key.create"),
    ("DELETE /v1/keys/kyc", "", "key.revoke"),
];

#[test]
fn every_write_leaves_one_entry_with_who_it_was() {
    let mut daemon = Daemon::start("");
    assert_eq!(daemon.admin("POST /v1/webhooks", &webhook("w")).status, 201);
    let mut expected = vec!["webhook.create"];
    for (line, body, action) in WRITES {
        let answer = daemon.admin(line, body);
        assert!(answer.status < 300, "{line}: {answer:?}");
        expected.push(action);
        assert_eq!(actions(&daemon, ""), expected, "{line}");
    }
    // What changes nothing, or is refused, leaves none.
    for (line, body) in [
        ("POST /v1/webhooks/renamed/resume", ""),
        ("PATCH /v1/webhooks/renamed", "{\"version\":1,\"name\":\"x\"}"),
        ("PATCH /v1/webhooks/renamed", "{\"timeout_seconds\":0}"),
        ("POST /v1/webhooks", "{}"),
        ("DELETE /v1/keys/nobody", ""),
    ] {
        daemon.admin(line, body);
    }
    assert_eq!(actions(&daemon, ""), expected);
    let uid = rustix::process::geteuid().as_raw();
    let all = entries(&daemon, "");
    assert!(all.iter().all(|one| one["uid"] == uid && one["by"] == all[0]["by"]), "{all:?}");
    let edits = entries(&daemon, "action=webhook.edit");
    let changed: Vec<&Value> = edits.iter().map(|one| &one["detail"]["changed"]).collect();
    assert_eq!(
        *changed[0],
        json!({"retry.count": [0, 1], "url": ["http://127.0.0.1:9/hook", "http://127.0.0.1:9/other"]})
    );
    assert_eq!(*changed[1], json!({"signing_key": "replaced"}));
    assert_eq!(*changed[2], json!({"headers.X-Env": ["prod", null], "headers.X-Key": "replaced"}));
    assert_eq!(*changed[3], json!({"name": ["w", "renamed"]}));
    // Under its new name, or by its id, a webhook is found with all of its past.
    let id = edits[0]["detail"]["id"].as_str().unwrap();
    for name in ["renamed", id] {
        assert_eq!(actions(&daemon, &format!("subject={name}")), expected[..expected.len() - 2], "{name}");
    }
    // No secret is in the log, nor on the disk: journal and index.
    let body = daemon.admin("GET /v1/audit?limit=500", "").body;
    assert!(!body.contains("canary"), "{body}");
    assert_eq!(daemon.stop(), 0);
    let state = daemon.folder.path().join("state");
    assert!(holds(&state.join("journal"), "webhook.rotate-key"), "the log is there");
    for canary in ["canary-key", "canary-header", "canary-second", "canary-third", "canary-fourth"] {
        assert!(!holds(&state, canary), "{canary}");
    }
    // It is read from the journal when there is no index.
    std::fs::remove_dir_all(state.join("index")).unwrap();
    daemon.start_again();
    until_ready(&daemon);
    assert_eq!(entries(&daemon, ""), all);
    let own: Vec<Value> = daemon.admin("GET /v1/audit?by=postrider", "").json()["items"].as_array().unwrap().clone();
    let own: Vec<&str> = own.iter().map(|one| one["action"].as_str().unwrap()).collect();
    assert_eq!(own, ["daemon.start", "daemon.stop", "daemon.start"], "newest first");
}

#[test]
fn what_is_done_to_deliveries_is_noted_with_their_webhook() {
    let daemon = Daemon::start("");
    daemon.admin("POST /v1/webhooks", &webhook("w"));
    daemon.admin("POST /v1/webhooks/w/pause", "");
    daemon.post("/v1/events/SOS_REPORT", "{\"scanRef\":\"s\"}");
    let id = daemon.admin("GET /v1/deliveries?ref=s", "").json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(daemon.admin(&format!("POST /v1/deliveries/{id}/cancel"), "").status, 200);
    assert_eq!(daemon.admin(&format!("POST /v1/deliveries/{id}/cancel"), "").json()["done"], false);
    assert_eq!(daemon.admin(&format!("POST /v1/deliveries/{id}/resend"), "").status, 202);
    assert_eq!(actions(&daemon, &format!("subject={id}")), ["delivery.cancel", "delivery.resend"]);
    assert_eq!(actions(&daemon, "subject=w&action=delivery"), ["delivery.cancel", "delivery.resend"]);
    assert_eq!(entries(&daemon, &format!("subject={id}"))[0]["detail"]["webhook"], "w");
}

#[test]
fn whoever_became_root_is_named() {
    let daemon = Daemon::start("");
    let made = daemon.admin_as("POST /v1/keys", &["Postrider-Sudo-User: alice"], "{\"name\":\"k\"}");
    assert_eq!(made.status, 201);
    let entry = entries(&daemon, "action=key.create").remove(0);
    // Only root can have come from somebody else; from others the word is worth nothing.
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(entry["by"] == "alice (sudo)", is_root, "{entry}");
    assert_eq!(entries(&daemon, "by=alice").len(), usize::from(is_root));
    assert_eq!(entry["subject"], "k");
    assert!(!daemon.admin("GET /v1/audit", "").body.contains("prt_"), "no token is in the log");
}

#[test]
fn the_log_is_searched_page_by_page() {
    let daemon = Daemon::start("");
    for number in 0..12 {
        let body = format!("{{\"name\":\"k{number}\"}}");
        assert_eq!(daemon.admin("POST /v1/keys", &body).status, 201);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = daemon.admin(&format!("GET /v1/audit?action=key&limit=5&cursor={cursor}"), "").json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|one| one["subject"].as_str().unwrap().to_owned()));
        // What is added meanwhile is newer than where the reader is.
        daemon.admin("POST /v1/keys", &format!("{{\"name\":\"later{}\"}}", seen.len()));
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let expected: Vec<String> = (0..12).rev().map(|number| format!("k{number}")).collect();
    assert_eq!(seen, expected);
    assert_eq!(entries(&daemon, "since=2020-01-01T00:00:00Z&subject=k3").len(), 1);
    assert_eq!(entries(&daemon, "until=2020-01-01T00:00:00Z").len(), 0);
    for (line, status) in [
        ("GET /v1/audit?colour=red", 400),
        ("GET /v1/audit?cursor=!", 400),
        ("GET /v1/audit?limit=0", 400),
        ("GET /v1/audit?since=yesterday", 400),
        ("POST /v1/audit", 405),
        ("GET /v1/audit/1", 404),
    ] {
        assert_eq!(daemon.admin(line, "").status, status, "{line}");
    }
    let output = daemon.cli(&["audit", "--action", "key.create", "--limit", "1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("WHO") && text.contains("key.create"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    let output = daemon.cli(&["audit", "--json", "--all", "--since", "1h"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let parsed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed.iter().filter(|one| one["action"] == "key.create").count(), 15);
}
