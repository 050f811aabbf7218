//! Event types as applications and operators meet them: the check at ingest, and types of one's own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::daemon::{Answer, Daemon};

const SOS: &str = "{\"id\":\"s-1\",\"status\":\"FINISHED\"}";
/// Wrong in two ways; the values are nobody else's business.
const ODD: &str = "{\"status\":\"canary-status\",\"companyName\":[\"canary-name\"]}";

fn with_schema(mode: &str) -> Daemon {
    Daemon::start(&format!("[ingest]\nlisten = \"127.0.0.1:0\"\nschema = \"{mode}\"\n"))
}

fn event_type(daemon: &Daemon, name: &str) -> Value {
    let answer = daemon.admin(&format!("GET /v1/event-types/{name}"), "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn detail(answer: &Answer) -> String {
    answer.json()["detail"].as_str().unwrap().to_owned()
}

fn order() -> String {
    json!({
        "label": "Order paid",
        "group": "KYB",
        "meaning": "Somebody paid.",
        "schema": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}},
        "example": {"amount": 5},
    })
    .to_string()
}

#[test]
fn a_payload_that_drifts_is_taken_and_counted() {
    let mut daemon = Daemon::start("");
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", SOS).status, 202);
    let key = ["Content-Type: application/json", "Idempotency-Key: k"];
    for _ in 0..2 {
        assert_eq!(daemon.post_with("/v1/events/sos%20report", &key, ODD).status, 202);
    }
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "[]").status, 202);
    let drifted = daemon.until("the checks are done", |daemon| {
        Some(event_type(daemon, "SOS_REPORT")).filter(|one| one["drift"]["count"] == 2)
    });
    // What was posted twice with one key counts once; the last is the last.
    assert_eq!(drifted["drift"]["last_path"], "");
    assert_eq!(drifted["drift"]["last_reason"], "must be an object");
    assert!(drifted["drift"]["last_at"].is_string());
    assert_eq!((&drifted["has_schema"], &drifted["unchecked"]), (&json!(true), &json!(0)));
    assert!(event_type(&daemon, "BANK_VERIFICATION")["drift"].is_null());
    let listed = daemon.cli(&["event", "types"]);
    let (out, err) = (String::from_utf8(listed.stdout).unwrap(), String::from_utf8(listed.stderr).unwrap());
    assert!(out.lines().next().unwrap().contains("DRIFT"), "{out}");
    let sos = out.lines().find(|line| line.starts_with("SOS_REPORT")).unwrap();
    assert!(sos.split_whitespace().any(|word| word == "2"), "{sos}");
    assert!(err.contains("the payload must be an object"), "{err}");
    assert_eq!(daemon.stop(), 0);
    let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap();
    assert_eq!(log.matches("does not fit its schema").count(), 1, "the first is told: {log}");
    for text in [&out, &err, &log, &drifted.to_string()] {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn what_is_not_looked_at_does_not_drift() {
    let daemon = with_schema("off");
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", ODD).status, 202);
    let config = daemon.folder.path().join("postrider.toml");
    let checked = daemon.cli(&["check-config", config.to_str().unwrap()]);
    assert!(!String::from_utf8_lossy(&checked.stderr).contains("no effect"));
    // The same daemon, so whatever was queued is done before what comes after it.
    let text = std::fs::read_to_string(&config).unwrap().replace("\"off\"", "\"warn\"");
    std::fs::write(&config, text).unwrap();
    daemon.reload();
    let drifted = daemon.until("it is counted again", |daemon| {
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", "7").status, 202);
        Some(event_type(daemon, "SOS_REPORT")).filter(|one| !one["drift"].is_null())
    });
    assert_eq!(drifted["drift"]["last_reason"], "must be an object", "and not what was posted before");
}

#[test]
fn a_payload_that_does_not_fit_is_refused_by_name_place_and_reason() {
    let daemon = with_schema("reject");
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", SOS).status, 202);
    let refused = daemon.post("/v1/events/SOS_REPORT", ODD);
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let told = detail(&refused);
    for words in ["the schema of SOS_REPORT: ", "/id is required", "/status must be one of NOT_ORDERED, IN_PROGRESS"] {
        assert!(told.contains(words), "{told}");
    }
    assert!(told.contains("/companyName must be a string or null") || told.contains("/companyName must be null or"));
    assert!(!refused.body.contains("canary"), "{told}");
    let good = format!("{{\"type\":\"SOS_REPORT\",\"payload\":{SOS}}}");
    let odd = format!("{{\"type\":\"SOS_REPORT\",\"payload\":{ODD}}}");
    let batch = format!("{good}\n{odd}\n{good}");
    let batch = daemon.post_with("/v1/events/batch", &["Content-Type: application/x-ndjson"], &batch);
    let lines: Vec<Value> = batch.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((batch.status, lines.len()), (207, 3));
    assert_eq!(lines[1]["status"], 422);
    assert!(lines[0]["id"].is_string() && lines[2]["id"].is_string());
    // Data that says it is something else is not checked.
    let other = "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/a\",\"type\":\"SOS_REPORT\",\
                 \"datacontenttype\":\"text/plain\",\"data\":\"words\"}";
    let json_data = other.replace("text/plain", "application/json").replace("\"1\"", "\"2\"");
    let structured = ["Content-Type: application/cloudevents+json"];
    assert_eq!(daemon.post_with("/v1/events", &structured, other).status, 202);
    assert_eq!(daemon.post_with("/v1/events", &structured, &json_data).status, 422);
    let events = daemon.admin("GET /v1/events", "").json();
    assert_eq!(events["items"].as_array().unwrap().len(), 4, "nothing refused was stored");
    assert_eq!(event_type(&daemon, "SOS_REPORT")["drift"]["count"], 3);
    // The example of every type fits.
    for one in daemon.admin("GET /v1/event-types", "").json()["items"].as_array().unwrap() {
        let name = one["name"].as_str().unwrap();
        let sent = daemon.cli(&["event", "send", name, "--example"]);
        assert_eq!(sent.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&sent.stderr));
    }
}

#[test]
fn built_in_types_show_what_they_are() {
    let daemon = Daemon::start("");
    let all = daemon.admin("GET /v1/event-types", "").json();
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), 20);
    for one in items {
        let name = one["name"].as_str().unwrap();
        assert_eq!((&one["custom"], &one["deprecated"]), (&json!(false), &json!(name == "ID_VERIFICATION")));
        for (part, media_type) in [("schema", "application/schema+json"), ("example", "application/json")] {
            let answer = daemon.admin(&format!("GET /v1/event-types/{name}/{part}"), "");
            assert_eq!((answer.status, answer.header("content-type")), (200, Some(media_type)), "{name}");
            let printed = daemon.cli(&["event", part, &name.to_lowercase().replace('_', " ")]);
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), answer.body, "{name}");
        }
    }
    assert_eq!(event_type(&daemon, "identification%20cancelled")["name"], "ID_VERIFICATION_CANCELED");
    for (line, status) in [
        ("PUT /v1/event-types/SOS_REPORT", 409),
        ("DELETE /v1/event-types/sos%20report", 409),
        ("POST /v1/event-types", 405),
        ("POST /v1/event-types/SOS_REPORT", 405),
        ("GET /v1/event-types/SOS_REPORT/colour", 404),
    ] {
        let body = if line.starts_with("P") { "{}" } else { "" };
        assert_eq!(daemon.admin(line, body).status, status, "{line}");
    }
    assert!(detail(&daemon.admin("PUT /v1/event-types/SOS_REPORT", "{}")).contains("is built in"));
    let unknown = daemon.admin("GET /v1/event-types/SOS_REPROT", "");
    assert!(unknown.status == 404 && detail(&unknown).contains("did you mean SOS_REPORT?"), "{unknown:?}");
}

/// Takes one request and answers 200; gives its head and body.
fn receive(listener: &TcpListener) -> (String, String) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap().trim().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn a_type_of_ones_own_is_a_type_like_any_other() {
    let mut daemon = with_schema("reject");
    assert_eq!(daemon.post("/v1/events/ORDER_PAID", "{\"amount\":1}").status, 422, "there is no such type yet");
    let defined = daemon.admin("PUT /v1/event-types/order_paid", &order());
    assert_eq!(defined.status, 201, "{defined:?}");
    let view = defined.json();
    assert_eq!(
        (&view["name"], &view["wire_name"], &view["custom"]),
        (&json!("ORDER_PAID"), &json!("ORDER_PAID"), &json!(true))
    );
    assert_eq!((&view["group"], &view["label"]), (&json!("KYB"), &json!("Order paid")));
    // A webhook may want it, by any spelling, and gets it under its name.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let webhook = json!({"name": "orders", "url": url, "event_types": ["order paid"]}).to_string();
    let made = daemon.admin("POST /v1/webhooks", &webhook);
    assert_eq!((made.status, made.json()["event_types"].clone()), (201, json!(["ORDER_PAID"])), "{made:?}");
    assert_eq!(event_type(&daemon, "order-paid")["webhooks"], 1);
    assert_eq!(daemon.post("/v1/events/Order%20Paid", "{\"amount\":7}").json()["deliveries"], 1);
    let (head, body) = receive(&listener);
    assert!(head.contains("idenfy-event-type: order_paid\r\n"), "{head}");
    assert_eq!(body, "{\"amount\":7}");
    let refused = daemon.post("/v1/events/ORDER_PAID", "{\"amount\":\"canary\"}");
    assert_eq!(refused.status, 422);
    assert!(detail(&refused).ends_with("the schema of ORDER_PAID: /amount must be an integer"), "{refused:?}");
    // Misspelt, it is suggested; a token may be bound to it.
    assert!(detail(&daemon.post("/v1/events/ORDER_PIAD", "{}")).contains("did you mean ORDER_PAID?"));
    assert_eq!(daemon.admin("POST /v1/keys", "{\"name\":\"o\",\"types\":[\"order paid\"]}").status, 201);
    // It can not go while it is wanted.
    let kept = daemon.admin("DELETE /v1/event-types/ORDER_PAID", "");
    assert!(kept.status == 409 && detail(&kept).contains("orders"), "{kept:?}");
    // It is still there after a crash and without an index.
    daemon.kill();
    std::fs::remove_dir_all(daemon.folder.path().join("state/index")).unwrap();
    daemon.start_again();
    assert_eq!(event_type(&daemon, "ORDER_PAID")["updated_at"], view["updated_at"]);
    assert_eq!(daemon.post("/v1/events/ORDER_PAID", "{}").status, 422);
    let schema = daemon.admin("GET /v1/event-types/ORDER_PAID/schema", "");
    assert_eq!(schema.json()["required"], json!(["amount"]));
    // Without a subscription it goes, and stays gone.
    assert_eq!(daemon.admin("DELETE /v1/webhooks/orders", "").status, 200);
    assert_eq!(daemon.admin("DELETE /v1/event-types/ORDER_PAID", "").status, 200);
    assert_eq!(daemon.admin("DELETE /v1/event-types/ORDER_PAID", "").status, 404);
    assert_eq!(daemon.stop(), 0);
    daemon.start_again();
    assert_eq!(daemon.admin("GET /v1/event-types/ORDER_PAID", "").status, 404);
    assert_eq!(daemon.post("/v1/events/ORDER_PAID", "{\"amount\":1}").status, 422);
}

#[test]
fn a_type_of_ones_own_is_shown_as_it_was_given_and_can_be_changed() {
    let daemon = with_schema("reject");
    let folder = daemon.folder.path();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    };
    let text = "{\n  \"type\" : \"object\",\n  \"required\": [\"b\", \"a\"],\n  \"description\": \"\u{e9}\"\n}";
    let (schema, example) = (file("schema", text), file("example", "{ \"b\":1.0, \"a\":null }"));
    let define = |arguments: &[&str]| {
        let output = daemon.cli(&[&["event", "define"], arguments].concat());
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(define(&["shop/order", "--schema", &schema, "--example", &example]).0, 0);
    let printed = |verb: &str, name: &str| String::from_utf8(daemon.cli(&["event", verb, name]).stdout).unwrap();
    assert_eq!(printed("schema", "shop/order"), text);
    assert_eq!(printed("example", "Shop/Order"), "{ \"b\":1.0, \"a\":null }");
    assert_eq!(daemon.admin("GET /v1/event-types/SHOP%2FORDER", "").json()["label"], "shop/order");
    assert_eq!(daemon.post("/v1/events/shop/order", "{\"a\":1,\"b\":2}").json()["type"], "SHOP/ORDER");
    assert_eq!(daemon.post("/v1/events/shop/order", "{\"a\":1}").status, 422);
    // What is shown can be sent back; without a schema everything fits.
    let mut shown = event_type(&daemon, "SHOP%2FORDER");
    shown["meaning"] = json!("Somebody ordered.");
    let changed = daemon.admin("PUT /v1/event-types/SHOP%2FORDER", &shown.to_string());
    assert_eq!((changed.status, changed.json()["has_schema"].clone()), (200, json!(false)), "{changed:?}");
    assert!(changed.json()["drift"].is_null(), "another schema, another count");
    assert_eq!(daemon.post("/v1/events/shop/order", "{\"a\":1}").status, 202);
    for part in ["schema", "example"] {
        assert_eq!(daemon.admin(&format!("GET /v1/event-types/SHOP%2FORDER/{part}"), "").status, 404);
        assert_eq!(daemon.cli(&["event", part, "shop/order"]).status.code(), Some(1));
    }
    let listed = String::from_utf8(daemon.cli(&["event", "types"]).stdout).unwrap();
    assert!(listed.contains("SHOP/ORDER") && listed.contains("Deprecated. Legacy"), "{listed}");
    // Mistakes are told by field.
    let odd = file("odd", "{\"type\":\"strin\"}");
    let (code, told) = define(&["SHOP/ORDER", "--schema", &odd, "--group", "KYX"]);
    assert!(code == 65 && told.contains("KYC, AML, KYB or Other"), "{code} {told}");
    let refused = |name: &str, document: Value| {
        let answer = daemon.admin(&format!("PUT /v1/event-types/{name}"), &document.to_string());
        let problems = answer.json()["problems"].as_array().cloned().unwrap_or_default();
        (answer.status, problems.into_iter().map(|one| one["field"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let large = "x".repeat(65 << 10);
    for (name, document, status, fields) in [
        ("A", json!({"schema": {"type": "strin"}}), 422, &["schema"] as &[_]),
        ("A", json!({"schema": {"$ref": "http://127.0.0.1:9/x"}}), 422, &["schema"]),
        ("A", json!({"schema": {"title": large}}), 422, &["schema"]),
        ("A", json!({"schema": {"type": "string"}, "example": 5}), 422, &["example"]),
        ("A", json!({"lable": "x"}), 422, &["lable"]),
        ("A", json!({"label": "sos report"}), 422, &["label"]),
        ("1A", json!({}), 422, &["name"]),
        ("ID_VERIFICATION_X", json!({}), 422, &["name"]),
        ("A", json!({"label": "shop/order"}), 409, &[]),
        ("A", json!([]), 400, &[]),
        ("A", json!({"label": 5}), 400, &[]),
    ] {
        assert_eq!(refused(name, document), (status, fields.iter().map(|&field| field.to_owned()).collect()), "{name}");
    }
    assert_eq!(daemon.cli(&["event", "undefine", "shop/order"]).status.code(), Some(0));
    assert_eq!(daemon.cli(&["event", "undefine", "shop/order"]).status.code(), Some(1));
}

#[test]
fn types_of_ones_own_have_a_limit_and_all_of_them_outlive_a_new_segment() {
    let mut daemon = Daemon::start("[ingest]\nlisten = \"127.0.0.1:0\"\nmax_body_bytes = 16777216\n");
    let title = "\"\\\n".repeat(10_000);
    let document = json!({"schema": {"title": title}}).to_string();
    let mut defined = 0;
    let refused = (0..200).find_map(|number| {
        let answer = daemon.admin(&format!("PUT /v1/event-types/TYPE_{number}"), &document);
        defined += usize::from(answer.status == 201);
        (answer.status != 201).then_some(answer)
    });
    let refused = refused.unwrap();
    assert!(refused.status == 409 && detail(&refused).contains("4194304 bytes"), "{refused:?}");
    for number in 0..200 - defined {
        assert_eq!(daemon.admin(&format!("PUT /v1/event-types/SMALL_{number}"), "{}").status, 201);
    }
    let one_more = daemon.admin("PUT /v1/event-types/ONE_MORE", "{}");
    assert!(one_more.status == 409 && detail(&one_more).contains("200 event types"), "{one_more:?}");
    // A segment ends after 64 MiB, and the next begins with all of them.
    let large = format!("\"{}\"", "x".repeat(15 << 20));
    daemon.until("there is a new segment", |daemon| {
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", &large).status, 202);
        (daemon.admin("GET /v1/status", "").json()["journal"]["segments"].as_u64().unwrap() > 1).then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    daemon.start_again();
    let all = daemon.admin("GET /v1/event-types", "").json();
    assert_eq!(all["items"].as_array().unwrap().len(), 220);
}
