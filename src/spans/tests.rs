//! Spans as a collector gets them.

use std::sync::Mutex;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as Kind;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

type Requests = Arc<Mutex<Vec<(String, ExportTraceServiceRequest)>>>;

/// A collector that takes everything; heads and what was posted.
async fn collector() -> (Url, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://joe:p%40ss@{}", listener.local_addr().unwrap())).unwrap();
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let (head, body) = loop {
                assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
                let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
                let length: usize =
                    head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
                if bytes.len() == end + 4 + length {
                    break (head, bytes[end + 4..].to_vec());
                }
            };
            seen.lock().unwrap().push((head, ExportTraceServiceRequest::decode(&body[..]).unwrap()));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
        }
    });
    (url, requests)
}

fn options(collector: Url, percent: u8) -> Option<SpanOptions> {
    Some(SpanOptions { collector, percent, ca_file: None })
}

fn posted(flags: u8) -> TraceContext {
    TraceContext { trace: [7; 16], parent: [8; 8], flags, state: "a=b".to_owned() }
}

const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_what_was_taken_in_and_what_was_tried() {
    let (url, requests) = collector().await;
    let spans = Spans::new(Random::seeded(1));
    spans.reconfigure(options(url, 100)).unwrap();
    let event = spans.begin(Some(&posted(1)), NOON).unwrap();
    let kept = event.context().clone();
    assert_eq!((kept.trace, kept.state.as_str()), ([7; 16], "a=b"));
    let mut attempt = spans.attempt(Some(&kept), NOON.plus(Duration::from_millis(5))).unwrap();
    let sent = attempt.context().clone();
    attempt.note("http.response.status_code", 503);
    attempt.end("deliver to one".to_owned(), Duration::from_millis(20), Some("503".to_owned()));
    event.end("accept event".to_owned(), Duration::from_micros(300), None);
    spans.close().await;

    let requests = requests.lock().unwrap();
    let [(head, request)] = &requests[..] else { panic!("one request") };
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: basic am9lonbac3m="), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let [of_resource] = &request.resource_spans[..] else { panic!("one resource") };
    let resource = of_resource.resource.as_ref().unwrap();
    let name = resource.attributes.iter().find(|one| one.key == "service.name").unwrap();
    assert_eq!(name.value.as_ref().unwrap().value, Some(Any::StringValue("postrider".to_owned())));
    let [attempt, event] = &of_resource.scope_spans[0].spans[..] else { panic!("two spans") };
    assert_eq!((&event.trace_id[..], &event.parent_span_id[..]), (&[7; 16][..], &[8; 8][..]));
    assert_eq!((&event.span_id[..], event.kind()), (&kept.parent[..], Kind::Server));
    assert_eq!(event.start_time_unix_nano, NOON.millis() * 1_000_000);
    assert_eq!(event.end_time_unix_nano - event.start_time_unix_nano, 300_000);
    assert_eq!((&attempt.parent_span_id, &attempt.span_id[..]), (&event.span_id, &sent.parent[..]));
    assert_eq!((attempt.kind(), attempt.trace_state.as_str()), (Kind::Client, "a=b"));
    assert_eq!(attempt.status.as_ref().unwrap().message, "503");
    let keys: Vec<_> = attempt.attributes.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["http.response.status_code", "error.type"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_records_nothing_gets_none() {
    let (url, requests) = collector().await;
    let spans = Spans::new(Random::seeded(2));
    assert!(spans.begin(Some(&posted(1)), NOON).is_none(), "no collector");
    spans.reconfigure(options(url.clone(), 25)).unwrap();
    assert!(spans.begin(Some(&posted(0)), NOON).is_none(), "not sampled");
    assert!(spans.attempt(Some(&posted(0)), NOON).is_none());
    assert!(spans.attempt(None, NOON).is_none());
    let begun: Vec<_> = (0..4000).filter_map(|_| spans.begin(None, NOON)).collect();
    assert!((800..1200).contains(&begun.len()), "a quarter: {}", begun.len());
    assert!(begun.iter().all(|span| span.context().is_sampled()));
    let traces: std::collections::HashSet<_> = begun.iter().map(|span| span.context().trace).collect();
    assert_eq!(traces.len(), begun.len());
    drop(begun);
    spans.reconfigure(options(url, 0)).unwrap();
    assert!(spans.begin(None, NOON).is_none());
    spans.reconfigure(None).unwrap();
    assert!(spans.begin(Some(&posted(1)), NOON).is_none(), "switched off again");
    spans.close().await;
    assert_eq!(requests.lock().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let spans = Spans::new(Random::seeded(3));
    spans.reconfigure(options(url, 100)).unwrap();
    for _ in 0..3 * QUEUE_MAX {
        spans.begin(None, NOON).unwrap().end("accept event".to_owned(), Duration::ZERO, None);
    }
    spans.close().await;
    assert!(spans.begin(None, NOON).is_none());
}

#[test]
fn user_and_password_are_in_no_text() {
    let options = options(Url::parse("http://joe:hunter2@collector:4318").unwrap(), 100);
    assert!(!format!("{options:?}").contains("hunter2"));
}
