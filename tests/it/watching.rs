//! What somebody sees who watches: an exchange under way, and which configuration is in force.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, answer};

#[test]
fn a_delivery_is_sending_while_its_exchange_is_under_way() {
    let daemon = Daemon::start("");
    let (go_on, waits) = mpsc::channel::<()>();
    let waits = Arc::new(Mutex::new(waits));
    let receiver = Receiver::start(Box::new(move |_| {
        let _ = waits.lock().unwrap().recv();
        Some(answer("200 OK", &[], ""))
    }));
    let webhook = json!({"name": "w", "url": receiver.url("/"), "event_types": ["*"], "max_in_flight": 1});
    assert_eq!(daemon.admin("POST /v1/webhooks", &webhook.to_string()).status, 201);
    for _ in 0..2 {
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
    }
    let listed = || {
        let rows = daemon.admin("GET /v1/deliveries?order=oldest", "").json()["items"].as_array().unwrap().clone();
        rows.iter().map(|row| (row["sending"].clone(), row["state"].clone())).collect::<Vec<_>>()
    };
    let [sending, waiting, over] = [(true, "pending"), (false, "pending"), (false, "delivered")]
        .map(|(sending, state)| (json!(sending), json!(state)));
    daemon.until("the first is under way", |_| (listed() == [sending.clone(), waiting.clone()]).then_some(()));
    let first = daemon.admin("GET /v1/deliveries?order=oldest", "").json()["items"][0].clone();
    let shown = daemon.admin(&format!("GET /v1/deliveries/{}", first["id"].as_str().unwrap()), "").json();
    assert_eq!((shown["sending"].clone(), shown["hold"].clone()), (json!(true), Value::Null));
    let event = daemon.admin(&format!("GET /v1/events/{}", first["event_id"].as_str().unwrap()), "").json();
    assert_eq!(event["delivery_list"][0]["sending"], true);
    go_on.send(()).unwrap();
    daemon.until("the second is under way", |_| (listed() == [over.clone(), sending.clone()]).then_some(()));
    go_on.send(()).unwrap();
    daemon.until("nothing is", |_| (listed() == [over.clone(), over.clone()]).then_some(()));
}

#[test]
fn the_status_tells_which_configuration_is_in_force() {
    let daemon = Daemon::start("");
    let status = || daemon.admin("GET /v1/status", "").json();
    let file = daemon.folder.path().join("postrider.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    let first = status();
    assert_eq!((first["retention_days"].clone(), first["config_refused"].clone()), (json!(30), Value::Null));
    let read_at = first["config_read_at"].as_str().unwrap().to_owned();

    std::fs::write(&file, format!("{good}\n[retention]\ndays = 3\n[nonsense]\nx = \"\u{1b}[31m\"\n")).unwrap();
    daemon.reload();
    let refused =
        daemon.until("it is refused", |_| Some(status()).filter(|status| status["config_refused"].is_string()));
    let why = refused["config_refused"].as_str().unwrap();
    assert!(why.contains("postrider.toml") && !why.contains('\u{1b}'), "{why}");
    assert_eq!((refused["config_read_at"].clone(), refused["retention_days"].clone()), (json!(read_at), json!(30)));
    assert!(refused["problems"].to_string().contains("check-config"), "{refused}");
    let told = daemon.cli(&["status"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("refused"), "{told:?}");

    std::fs::write(&file, good.replace("[retention]\n", "[retention]\ndays = 7\n")).unwrap();
    daemon.reload();
    let taken = daemon.until("it is taken over", |_| Some(status()).filter(|status| status["retention_days"] == 7));
    assert_eq!(taken["config_refused"], Value::Null);
    assert!(taken["config_read_at"].as_str().unwrap() > read_at.as_str());
    assert_eq!(taken["problems"], json!([]));
}
