//! The trace that an application posts an event in reaches the receiver, in whatever form the event was posted, and is
//! the same after a restart.

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, answer};

fn parent(number: u32) -> String {
    format!("00-{number:032x}-00f067aa0ba902b7-01")
}

#[test]
fn every_way_to_post_passes_the_trace_on() {
    let daemon = Daemon::start("");
    let receiver = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    let webhook = json!({"name": "w", "url": receiver.url("/"), "event_types": ["*"]}).to_string();
    assert_eq!(daemon.admin("POST /v1/webhooks", &webhook).status, 201);

    let header = |number| format!("traceparent: {}", parent(number));
    let accepted = |path: &str, headers: &[&str], body: &str| {
        let answer = daemon.post_with(path, headers, body);
        assert!(matches!(answer.status, 202), "{path}: {}", answer.body);
    };
    const JSON: &str = "Content-Type: application/json";
    let traced = header(1);
    let own = [JSON, &traced, "tracestate: a=1", "tracestate: b=2"];
    accepted("/v1/events/AML_MONITORING", &own, "{\"scanRef\":\"typed\"}");
    let traced = header(2);
    accepted("/v1/events", &[JSON, &traced], "{\"type\":\"AML_MONITORING\",\"payload\":{\"scanRef\":\"envelope\"}}");
    let traced = header(3);
    let lines = "{\"type\":\"AML_MONITORING\",\"payload\":{\"scanRef\":\"line\"}}\n";
    accepted("/v1/events/batch", &["Content-Type: application/x-ndjson", &traced], lines);
    // What an event says itself goes before what is said of the request.
    let cloud = |reference: &str, extra: serde_json::Value| {
        let mut event = json!({"specversion": "1.0", "id": reference, "source": "/x", "type": "AML_MONITORING",
            "data": {"scanRef": reference}});
        event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        event
    };
    let structured = cloud("structured", json!({"traceparent": parent(4), "tracestate": "c=3"})).to_string();
    let traced = header(99);
    accepted("/v1/events", &["Content-Type: application/cloudevents+json", &traced], &structured);
    let both = json!([cloud("element", json!({"traceparent": parent(5)})), cloud("other", json!({"traceparent": 7}))]);
    accepted("/v1/events/batch", &["Content-Type: application/cloudevents-batch+json"], &both.to_string());
    let traced = format!("ce-traceparent: {}", parent(6));
    let binary = ["ce-specversion: 1.0", "ce-id: b", "ce-source: /x", "ce-type: AML_MONITORING", &traced, JSON];
    accepted("/v1/events", &binary, "{\"scanRef\":\"binary\"}");
    // What is not valid is nothing.
    let twice = [header(7), header(8)];
    accepted("/v1/events/AML_MONITORING", &[JSON, &twice[0], &twice[1]], "{\"scanRef\":\"twice\"}");
    accepted("/v1/events/AML_MONITORING", &[JSON, "traceparent: 00-x"], "{\"scanRef\":\"malformed\"}");
    accepted("/v1/events/AML_MONITORING", &[JSON, "tracestate: a=1"], "{\"scanRef\":\"stateonly\"}");

    let received = receiver.received(10);
    let of = |reference: &str| {
        let one = received.iter().find(|one| String::from_utf8_lossy(&one.body).contains(reference)).unwrap();
        (one.header("traceparent").map(str::to_owned), one.header("tracestate").map(str::to_owned))
    };
    assert_eq!(of("typed"), (Some(parent(1)), Some("a=1,b=2".to_owned())));
    assert_eq!(of("envelope"), (Some(parent(2)), None));
    assert_eq!(of("line"), (Some(parent(3)), None));
    assert_eq!(of("structured"), (Some(parent(4)), Some("c=3".to_owned())));
    assert_eq!(of("element"), (Some(parent(5)), None));
    assert_eq!(of("binary"), (Some(parent(6)), None));
    for nothing in ["other", "twice", "malformed", "stateonly"] {
        assert_eq!(of(nothing), (None, None), "{nothing}");
    }
}

#[test]
fn the_trace_outlives_the_daemon() {
    let mut daemon = Daemon::start("");
    let receiver = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    let webhook = json!({"name": "w", "url": receiver.url("/"), "event_types": ["*"]}).to_string();
    assert_eq!(daemon.admin("POST /v1/webhooks", &webhook).status, 201);
    assert_eq!(daemon.cli(&["webhook", "pause", "w"]).status.code(), Some(0));
    let headers = ["Content-Type: application/json", &format!("traceparent: {}", parent(9)), "tracestate: d=4"];
    assert_eq!(daemon.post_with("/v1/events/AML_MONITORING", &headers, "{}").status, 202);
    daemon.kill();
    daemon.start_again();
    assert_eq!(daemon.cli(&["webhook", "resume", "w"]).status.code(), Some(0));
    let received = receiver.received(1);
    assert_eq!(received[0].header("traceparent"), Some(&*parent(9)));
    assert_eq!(received[0].header("tracestate"), Some("d=4"));
}

/// The collector is told in `src/spans`; here is that a span's id, and not the application's, goes on to the receiver.
#[test]
fn a_recorded_trace_goes_on_below_the_attempt() {
    let collector =
        Receiver::start(Box::new(|_| Some(answer("200 OK", &["Content-Type: application/x-protobuf"], ""))));
    let config = format!("[tracing]\ncollector = \"http://{}\"\npercent = 0\n", collector.address);
    let mut daemon = Daemon::start(&config);
    let receiver = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    let webhook = json!({"name": "w", "url": receiver.url("/"), "event_types": ["*"]}).to_string();
    assert_eq!(daemon.admin("POST /v1/webhooks", &webhook).status, 201);
    let not_recorded = parent(11).replace("-01", "-00");
    for context in [parent(10), not_recorded.clone()] {
        let headers = ["Content-Type: application/json", &format!("traceparent: {context}")];
        assert_eq!(daemon.post_with("/v1/events/AML_MONITORING", &headers, "{\"secret\":\"canary\"}").status, 202);
    }
    assert_eq!(daemon.post("/v1/events/AML_MONITORING", "{}").status, 202);
    let received = receiver.received(3);
    let contexts: Vec<_> = received.iter().filter_map(|one| one.header("traceparent")).collect();
    assert_eq!(contexts.len(), 2);
    assert!(contexts.contains(&&*not_recorded), "{contexts:?}");
    let below = contexts.iter().find(|one| one.starts_with(&parent(10)[..35])).expect("the same trace");
    assert!(**below != parent(10) && below.ends_with("-01"), "below a span of ours: {below}");
    assert_eq!(daemon.stop(), 0);
    let told = collector.received(1);
    assert!(told[0].head.starts_with("POST /v1/traces "), "{}", told[0].head);
    let text = String::from_utf8_lossy(&told[0].body).into_owned();
    assert!(text.contains("accept event") && text.contains("deliver to w") && !text.contains("canary"), "{text}");
}
