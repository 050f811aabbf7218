//! A mail server that hangs: it takes the connection and says nothing, and deliveries are as quick as before.
#![expect(clippy::disallowed_methods, reason = "how long something takes is what is tested")]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::rows::covered;
use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, answer};

/// From the post of an event to its receipt; the middle and the slowest of many.
fn deliveries(daemon: &Daemon, receiver: &Receiver, already: usize) -> (Duration, Duration) {
    const EVENTS: usize = 60;
    let mut took: Vec<Duration> = (0..EVENTS)
        .map(|number| {
            let began = Instant::now();
            assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
            receiver.received(already + number + 1);
            began.elapsed()
        })
        .collect();
    took.sort();
    (took[EVENTS / 2], took[EVENTS * 9 / 10])
}

#[test]
fn a_mail_server_that_hangs_holds_no_delivery_up() {
    let receiver = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    // It listens, and whoever connects waits for a greeting.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let daemon = Daemon::start(&format!("[email]\nsmtp = \"smtp://127.0.0.1:{port}\"\nfrom = \"p@example.org\"\n"));
    let good = json!({"name": "good", "url": receiver.url("/"), "event_types": ["*"]});
    assert_eq!(daemon.admin("POST /v1/webhooks", &good.to_string()).status, 201);
    let before = deliveries(&daemon, &receiver, 0);
    let failing = json!({"name": "failing", "url": "http://127.0.0.1:9/", "event_types": ["*"],
        "retry": {"count": 0, "interval_seconds": 1}, "failure_email": {"to": ["ops@example.com"]}});
    assert_eq!(daemon.admin("POST /v1/webhooks", &failing.to_string()).status, 201);
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
    // From here on it waits for the greeting.
    let (_held, _) = silent.accept().unwrap();
    let during = deliveries(&daemon, &receiver, 61);
    let email = daemon.admin("GET /v1/status", "").json()["email"].take();
    assert_eq!(email["last_sent_at"], serde_json::Value::Null, "no mail can have gone out: {email}");
    // The second webhook alone is twice the work.
    assert!(during.0 < before.0 * 4 + Duration::from_millis(50), "{during:?} and {before:?} before");
    covered(
        &["F27"],
        "a_mail_server_that_hangs_holds_no_delivery_up",
        format!(
            "post to receipt {} ms (9 of 10: {} ms) before, {} ms ({} ms) while it hangs",
            before.0.as_millis(),
            before.1.as_millis(),
            during.0.as_millis(),
            during.1.as_millis()
        ),
    );
}
