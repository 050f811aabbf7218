//! Moving configuration about: export, import, copies, and secrets by name, against the real
//! program. No receiver is needed.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;

/// Every field there is, secrets with a mark of their own.
fn full(name: &str) -> Value {
    json!({
        "name": name, "url": "http://127.0.0.1:9/hook", "event_types": ["AML_MONITORING", "SOS_REPORT"],
        "active": true, "timeout_seconds": 7, "max_in_flight": 3, "rate_per_second": 5, "ordered": true,
        "retry": {"count": 2, "interval_seconds": 30, "backoff": "exponential", "max_interval_seconds": 300},
        "headers": [{"name": "X-Env", "value": "prod"}, {"name": "X-Key", "value": "canary-header", "secret": true}],
        "signing_key": "canary-key",
        "failure_email": {"to": ["ops@example.com"], "include_body": true},
        "oauth": {"endpoint": "http://127.0.0.1:9/token", "token": "canary-token", "request": "canary=request"},
        "filter": [{"path": "/final", "equals": true}],
    })
}

fn create(daemon: &Daemon, document: &Value) -> Value {
    let answer = daemon.admin("POST /v1/webhooks", &document.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn actions(answer: &Value) -> Vec<(&str, &str)> {
    let changes = answer["changes"].as_array().unwrap().iter();
    changes.map(|one| (one["action"].as_str().unwrap(), one["name"].as_str().unwrap())).collect()
}

#[test]
fn an_export_is_stable_and_brings_everything_back() {
    let daemon = Daemon::start("");
    create(&daemon, &full("one"));
    create(&daemon, &json!({"name": "two", "url": "http://127.0.0.1:9/", "event_types": ["*"], "active": false}));
    let folder = tempfile::tempdir().unwrap();
    for format in ["toml", "json"] {
        let exported = text(&daemon.cli(&["export", "--format", format]));
        assert_eq!(text(&daemon.cli(&["export", "--format", format])), exported, "nothing changed, nothing differs");
        assert!(!exported.contains("canary"), "{exported}");
        let file = folder.path().join(format);
        std::fs::write(&file, &exported).unwrap();
        let file = file.to_str().unwrap();
        let plan: Value = serde_json::from_str(&text(&daemon.cli(&["--json", "import", file, "--dry-run"]))).unwrap();
        assert_eq!(actions(&plan), [("unchanged", "one"), ("unchanged", "two")]);

        // All is lost and comes back, under new ids.
        for name in ["one", "two"] {
            assert_eq!(daemon.admin(&format!("DELETE /v1/webhooks/{name}"), "").status, 200);
        }
        text(&daemon.cli(&["import", file]));
        assert_eq!(text(&daemon.cli(&["export", "--format", format])), exported);
        let secret = text(&daemon.cli(&["webhook", "reveal", "one", "headers.x-key"]));
        assert_eq!(secret.trim(), "canary-header");
    }
}

#[test]
fn an_import_plans_changes_and_prunes() {
    let daemon = Daemon::start("");
    create(&daemon, &full("kept"));
    create(&daemon, &full("left-over"));
    assert_eq!(daemon.admin("POST /v1/webhooks/kept/pause", "").status, 200);
    let mut document = daemon.admin("GET /v1/export", "").json();
    document["webhooks"].as_array_mut().unwrap().remove(1);
    let kept = &mut document["webhooks"][0];
    kept["retry"]["count"] = json!(9);
    kept.as_object_mut().unwrap().remove("filter");
    kept.as_object_mut().unwrap().remove("signing_key");
    kept["oauth"]["token"] = json!("another");
    let new = json!({"name": "new", "url": "http://127.0.0.1:9/n", "event_types": ["*"]});
    document["webhooks"].as_array_mut().unwrap().push(new);

    let import = |dry_run: bool, prune: bool| {
        let body = json!({"document": document, "dry_run": dry_run, "prune": prune});
        let answer = daemon.admin("POST /v1/import", &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let plan = import(true, true);
    assert_eq!(actions(&plan), [("change", "kept"), ("create", "new"), ("delete", "left-over")]);
    assert_eq!(plan["changes"][0]["fields"], json!(["oauth", "retry", "filter"]));
    assert_eq!(daemon.admin("GET /v1/webhooks/new", "").status, 404, "a plan changes nothing");

    import(false, false);
    assert_eq!(daemon.admin("GET /v1/webhooks/left-over", "").status, 200, "only pruning deletes");
    let kept = daemon.admin("GET /v1/webhooks/kept", "").json();
    assert_eq!((&kept["retry"]["count"], &kept["filter"], &kept["paused"]), (&json!(9), &json!([]), &json!(true)));
    assert_eq!(kept["signing_key"]["set"], true, "a secret that is left out is kept");
    let token = daemon.admin("GET /v1/webhooks/kept/secrets/oauth.token", "").json();
    assert_eq!(token, json!({"field": "oauth.token", "value": "another"}));

    let again = import(false, true);
    assert_eq!(actions(&again), [("unchanged", "kept"), ("unchanged", "new"), ("delete", "left-over")]);
    assert_eq!(daemon.admin("GET /v1/webhooks/left-over", "").status, 404);
    assert_eq!(daemon.admin("POST /v1/webhooks/left-over/restore", "").status, 200, "and that can be undone");
}

#[test]
fn event_types_come_before_the_webhooks_that_ask_for_them_and_go_after_them() {
    let daemon = Daemon::start("");
    let definition = json!({"meaning": "A parcel moved.", "schema": {"type": "object", "required": ["id"]}});
    assert_eq!(daemon.admin("PUT /v1/event-types/PARCEL", &definition.to_string()).status, 201);
    create(&daemon, &json!({"name": "parcels", "url": "http://127.0.0.1:9/", "event_types": ["parcel"]}));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.toml");
    let file = file.to_str().unwrap();
    text(&daemon.cli(&["export", file]));

    let empty = json!({"document": {"postrider_export": 1}, "prune": true}).to_string();
    let emptied = daemon.admin("POST /v1/import", &empty).json();
    assert_eq!(actions(&emptied), [("delete", "parcels"), ("delete", "PARCEL")]);
    assert!(emptied["changes"].as_array().unwrap().iter().all(|one| one["applied"] == true), "{emptied}");

    let back: Value = serde_json::from_str(&text(&daemon.cli(&["--json", "import", file]))).unwrap();
    assert_eq!(actions(&back), [("create", "PARCEL"), ("create", "parcels")]);
    let schema = daemon.admin("GET /v1/event-types/PARCEL/schema", "").json();
    assert_eq!(schema, definition["schema"], "as it was given");
    let again: Value = serde_json::from_str(&text(&daemon.cli(&["--json", "import", file]))).unwrap();
    assert_eq!(actions(&again), [("unchanged", "PARCEL"), ("unchanged", "parcels")]);
}

#[test]
fn nothing_is_imported_unless_all_of_it_is_right() {
    let daemon = Daemon::start("");
    let good = json!({"name": "good", "url": "http://127.0.0.1:9/", "event_types": ["*"]});
    let bad =
        json!({"name": "bad", "url": "http://10.0.0.1/", "event_types": ["NONE"], "signing_key": {"sealed": "AAAA"}});
    let import = |document: Value| daemon.admin("POST /v1/import", &json!({"document": document}).to_string());
    let answer = import(json!({"postrider_export": 1, "webhooks": [good, bad, good]}));
    assert_eq!(answer.status, 422, "{answer:?}");
    let body = answer.json();
    let fields: Vec<&str> =
        body["problems"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
    let expected = ["webhooks[1] (bad).signing_key", "webhooks[1] (bad).event_types", "webhooks[1] (bad).url"];
    assert!(expected.iter().all(|field| fields.contains(field)), "{fields:?}");
    assert!(fields.contains(&"webhooks[2] (good).name"), "{fields:?}");
    assert_eq!(daemon.admin("GET /v1/webhooks/good", "").status, 404);
    for document in
        [json!([]), json!({"webhooks": []}), json!({"postrider_export": 2}), json!({"postrider_export": 1, "x": 1})]
    {
        assert_eq!(import(document.clone()).status, 400, "{document}");
    }
}

#[test]
fn a_copy_has_the_secrets_and_is_inactive() {
    let daemon = Daemon::start("");
    create(&daemon, &full("one"));
    let answer = daemon.admin("POST /v1/webhooks/one/clone", &json!({"name": "two"}).to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    let copy = answer.json();
    assert_eq!((&copy["active"], &copy["version"], &copy["name"]), (&json!(false), &json!(1), &json!("two")));
    for (field, value) in
        [("signing_key", "canary-key"), ("oauth.token", "canary-token"), ("headers.X-KEY", "canary-header")]
    {
        let answer = daemon.admin(&format!("GET /v1/webhooks/two/secrets/{field}"), "");
        assert_eq!(answer.json()["value"], value, "{field}");
    }
    assert_eq!(daemon.admin("POST /v1/webhooks/one/clone", r#"{"name": "two"}"#).status, 409);
    assert_eq!(daemon.admin("POST /v1/webhooks/one/clone", "{}").status, 422);
    for field in ["headers.X-Env", "tls.client_key", "nonsense", "signing_key.previous"] {
        assert_eq!(daemon.admin(&format!("GET /v1/webhooks/one/secrets/{field}"), "").status, 404, "{field}");
    }
}

#[test]
fn the_plan_is_spelt_out() {
    let daemon = Daemon::start("");
    create(&daemon, &full("one"));
    let plan = daemon.admin("GET /v1/webhooks/one/plan", "").json();
    assert_eq!(plan["attempts_after_seconds"], json!([0, 30, 90]));
    assert_eq!(plan["mail_to"], json!(["ops@example.com"]));
    let said = text(&daemon.cli(&["webhook", "plan", "one"]));
    assert!(said.contains("at once") && said.contains("ops@example.com"), "{said}");
}

#[test]
fn pruning_is_not_done_unasked_and_sealed_secrets_stay_secret() {
    let daemon = Daemon::start("");
    create(&daemon, &full("one"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.toml");
    std::fs::write(&file, "postrider_export = 1\n").unwrap();
    let file = file.to_str().unwrap();
    let refused = daemon.cli(&["import", file, "--prune"]);
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert_eq!(daemon.admin("GET /v1/webhooks/one", "").status, 200);

    let mut document = daemon.admin("GET /v1/export", "").json();
    document["webhooks"][0]["name"] = json!("thief");
    document["webhooks"][0]["headers"][1]["secret"] = json!(false);
    document["webhooks"][0]["signing_key"] = json!({"set": true});
    let answer = daemon.admin("POST /v1/import", &json!({"document": document}).to_string());
    assert_eq!(answer.status, 422, "{answer:?}");
    let told = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(told.contains("has to be \"secret\": true") && told.contains("signing_key says only"), "{told}");

    text(&daemon.cli(&["import", file, "--prune", "--yes"]));
    assert_eq!(daemon.admin("GET /v1/webhooks/one", "").status, 404);
    let status = daemon.admin("GET /v1/status", "").json();
    assert_eq!((&status["pending"], &status["oldest_pending_seconds"]), (&json!(0), &Value::Null));
}

#[test]
fn a_plan_sees_what_pruning_leaves() {
    let daemon = Daemon::start("");
    assert_eq!(daemon.admin("PUT /v1/event-types/PARCEL", "{}").status, 201);
    let webhook = json!({"name": "one", "url": "http://127.0.0.1:9/", "event_types": ["PARCEL"]});
    create(&daemon, &webhook);
    create(&daemon, &json!({"name": "other", "url": "http://127.0.0.1:9/", "event_types": ["*"]}));
    let document = json!({"postrider_export": 1, "webhooks": [webhook]});
    let pruned = daemon.admin("POST /v1/import", &json!({"document": document, "prune": true}).to_string());
    assert_eq!(pruned.status, 422, "the type it asks for would be gone: {pruned:?}");
    assert_eq!(daemon.admin("GET /v1/webhooks/other", "").status, 200, "nothing was changed");
    let twins = json!([{"name": "A_ONE", "label": "Same"}, {"name": "A_TWO", "label": "same"}]);
    let document = json!({"postrider_export": 1, "event_types": twins});
    let refused = daemon.admin("POST /v1/import", &json!({"document": document, "dry_run": true}).to_string());
    assert_eq!(refused.status, 422, "{refused:?}");
}
