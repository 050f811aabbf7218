//! The client against a server that answers what it is told to.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::domain::secret::Secret;

/// What was asked: request line, headers that matter, body.
#[derive(Clone, Debug, Default)]
struct Asked {
    line: String,
    via: String,
    authorization: String,
    key: String,
    body: String,
}

type Log = Arc<Mutex<Vec<Asked>>>;

async fn note(log: &Log, request: Request<Incoming>) {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default()
    };
    let mut asked = Asked {
        line: format!("{} {}", request.method(), request.uri()),
        via: format!("{}/{}", header("postrider-via"), header("postrider-sudo-user")),
        authorization: header("authorization"),
        key: header("idempotency-key"),
        body: String::new(),
    };
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    asked.body = String::from_utf8(bytes.to_vec()).unwrap();
    log.lock().unwrap().push(asked);
}

async fn answer<S>(stream: S, log: Log, status: u16, content_type: &'static str, body: &'static str)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let log = Arc::clone(&log);
        async move {
            note(&log, request).await;
            let response = Response::builder().status(status).header("content-type", content_type);
            Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A daemon that gives one answer to everything.
fn daemon(status: u16, content_type: &'static str, body: &'static str) -> (TempDir, Client, Log) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let log = Log::default();
    let server_log = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&server_log), status, content_type, body));
        }
    });
    let client = Client::new(&socket, &caller()).unwrap();
    (folder, client, log)
}

fn caller() -> Caller {
    Caller { via: "cli", sudo_user: Some("alice".to_owned()), read_only: false }
}

#[tokio::test]
async fn a_name_is_one_segment_and_the_caller_is_named() {
    let (_folder, client, log) = daemon(200, "application/json", r#"{"done":true}"#);
    client.pause_webhook("a b/../ü?x#").await.unwrap();
    client.resend("dlv_1").await.unwrap();
    client.rotate_key("w", &serde_json::json!({"signing_key": "k"})).await.unwrap();
    let asked = log.lock().unwrap().clone();
    assert_eq!(asked[0].line, "POST /v1/webhooks/a%20b%2F..%2F%C3%BC%3Fx%23/pause");
    assert_eq!(asked[0].via, "cli/alice");
    assert_eq!(asked[1].line, "POST /v1/deliveries/dlv_1/resend");
    assert_eq!(asked[2].body, r#"{"signing_key":"k"}"#);
}

#[tokio::test]
async fn a_page_is_asked_for_with_its_filter() {
    let (_folder, client, log) = daemon(200, "application/json", r#"{"items":[],"cursor":"next"}"#);
    let filter = DeliveryFilter { reference: Some("a&b=c".to_owned()), ..DeliveryFilter::default() };
    let page = client.deliveries(&filter, 20, Some("c1")).await.unwrap();
    assert_eq!(page.cursor.as_deref(), Some("next"));
    assert_eq!(log.lock().unwrap()[0].line, "GET /v1/deliveries?ref=a%26b%3Dc&limit=20&cursor=c1");
}

#[tokio::test]
async fn names_that_vanish_from_a_url_are_not_sent() {
    let (_folder, client, log) = daemon(200, "application/json", r#"{"done":true}"#);
    for name in ["", ".", ".."] {
        let refused = client.delete_webhook(name).await;
        assert!(matches!(refused, Err(ClientError::Refused(Problem { status: 404, .. }))), "{name}");
    }
    assert!(log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_keeps_its_problem() {
    let body = r#"{"status":422,"title":"Unprocessable","detail":"the webhook cannot be saved",
        "problems":[{"field":"retry.count","detail":"at most 100"}],"more":1}"#;
    let (_folder, client, _log) = daemon(422, "application/problem+json", body);
    let error = client.create_webhook(&serde_json::json!({})).await.unwrap_err();
    assert_eq!(error.to_string(), "the webhook cannot be saved\n  retry.count: at most 100");
    let ClientError::Refused(problem) = error else { panic!("not refused") };
    assert_eq!((problem.status, problem.problems.len()), (422, 1));
}

#[tokio::test]
async fn a_refusal_without_a_problem_says_the_status() {
    let (_folder, client, _log) = daemon(404, "text/plain", "no");
    let error = client.delivery("dlv_x").await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused(Problem { status: 404, .. })));
    assert_eq!(error.to_string(), "the daemon answered 404 Not Found");
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_said_to_be_so() {
    let (_folder, client, _log) = daemon(200, "application/json", "<html>");
    assert!(matches!(client.status().await, Err(ClientError::Protocol(_))));
}

#[tokio::test]
async fn payloads_come_as_they_are() {
    let (_folder, client, _log) = daemon(200, "text/csv", "a;b\u{1b}\n");
    let payload = client.delivery_payload("dlv_1").await.unwrap();
    assert_eq!(payload, Payload { content_type: "text/csv".to_owned(), bytes: b"a;b\x1b\n".to_vec() });
}

#[tokio::test]
async fn a_closed_connection_is_a_daemon_that_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        // Takes the request first: else the client could see its own write fail instead.
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.readable().await;
            let mut some = [0_u8; 4096];
            let _ = stream.try_read(&mut some);
        }
    });
    let error = Client::new(&socket, &caller()).unwrap().status().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn the_first_socket_that_listens_is_taken() {
    let (folder, listening, _log) = daemon(200, "application/json", "{}");
    let missing = folder.path().join("missing.sock");
    let stale = folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let candidates = [missing, stale, listening.socket().to_owned()];
    let client = Client::connect(&candidates, &caller()).await.unwrap();
    assert_eq!(client.socket(), listening.socket());
    let Err(ClientError::Unreachable { tried }) = Client::connect(&candidates[..2], &caller()).await else {
        panic!("reached nobody")
    };
    let kinds: Vec<_> = tried.iter().map(|(_, error)| error.kind()).collect();
    assert_eq!(kinds, [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]);
    let error = Client::new(&candidates[0], &caller()).unwrap().status().await.unwrap_err();
    let ClientError::Unreachable { tried } = error else { panic!("reached nobody") };
    assert_eq!(tried[0].1.kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_socket_of_others_is_forbidden() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may use every socket");
        return;
    }
    let (_folder, client, _log) = daemon(200, "application/json", "{}");
    std::fs::set_permissions(client.socket(), std::fs::Permissions::from_mode(0o0)).unwrap();
    assert!(matches!(client.status().await, Err(ClientError::Forbidden { .. })));
    let connected = Client::connect(&[client.socket().to_owned()], &caller()).await;
    assert!(matches!(connected, Err(ClientError::Forbidden { .. })));
}

async fn port(status: u16, body: &'static str) -> (Url, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let log = Log::default();
    let server_log = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&server_log), status, "application/json", body));
        }
    });
    (url, log)
}

fn event(base: Url) -> ingest::NewEvent {
    ingest::NewEvent {
        base,
        event_type: "AML MONITORING".to_owned(),
        token: Some(Secret::new("t0ken".to_owned())),
        idempotency_key: Some("k-1".to_owned()),
        payload: b"{ }".to_vec(),
    }
}

#[tokio::test]
async fn an_event_is_posted_with_its_token_and_its_bytes() {
    let (url, log) = port(202, r#"{"id":"evt_1","type":"AML_MONITORING","deliveries":2,"duplicate":false}"#).await;
    let accepted = ingest::post(event(url)).await.unwrap();
    assert_eq!((accepted.id.as_str(), accepted.deliveries), ("evt_1", 2));
    let asked = log.lock().unwrap()[0].clone();
    assert_eq!(asked.line, "POST /v1/events/AML%20MONITORING");
    assert_eq!((asked.authorization.as_str(), asked.key.as_str(), asked.body.as_str()), ("Bearer t0ken", "k-1", "{ }"));
}

#[tokio::test]
async fn only_202_is_accepted() {
    let (url, _log) = port(200, "{}").await;
    assert!(matches!(ingest::post(event(url)).await, Err(ingest::PostError::Refused(_))));
    let (url, _log) = port(202, "{}").await;
    assert!(matches!(ingest::post(event(url)).await, Err(ingest::PostError::Protocol(_))));
    let closed = Url::parse("http://127.0.0.1:9").unwrap();
    assert!(matches!(ingest::post(event(closed)).await, Err(ingest::PostError::Unreachable { .. })));
}
