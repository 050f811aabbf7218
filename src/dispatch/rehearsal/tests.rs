//! Tests of webhooks against receivers on loopback that do as they are told.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::domain::address::AddressPolicy;
use crate::domain::credentials::ClientTls;
use crate::domain::credentials::OAuth;
use crate::domain::secret::Secret;
use crate::domain::signature::{Signer, SigningKey};
use crate::domain::webhook::tests::sample;
use crate::domain::webhook::{Header, HeaderValue as Own};
use crate::egress::{EgressOptions, Names, Proxy};

const ALL: [&str; 8] = ["url", "dns", "connect", "tls", "oauth", "signature", "request", "response"];
const CANARY: &str = "canary";

type Requests = Arc<Mutex<Vec<String>>>;
type Authority = CertifiedIssuer<'static, KeyPair>;

fn names() -> WireNames {
    WireNames {
        body_signature: HeaderName::from_static("idenfy-signature"),
        event_type: HeaderName::from_static("idenfy-event-type"),
        user_agent: HeaderValue::from_static("postrider/test"),
    }
}

fn options() -> EgressOptions {
    let policy = AddressPolicy::new(["127.0.0.0/8".parse().unwrap()]);
    let known = HashMap::from([("hook.example".to_owned(), vec!["127.0.0.1".parse().unwrap()])]);
    EgressOptions { policy, names: Names::Fixed(known), ..EgressOptions::default() }
}

fn webhook(url: String) -> Webhook {
    Webhook { url, ..sample() }
}

async fn tested_by(egress: &Arc<Egress>, clock: Clock, webhook: Webhook) -> Rehearsal {
    let trial = Trial {
        webhook: Arc::new(webhook),
        event_type: "ID_VERIFICATION_CANCELED".to_owned(),
        payload: Bytes::from_static(b"{\"a\":1}"),
        remark: None,
        oauth_remark: None,
    };
    let rehearsal = rehearse(egress, clock, &Random::seeded(1), &names(), trial).await;
    check(&rehearsal);
    rehearsal
}

async fn tested(webhook: Webhook) -> Rehearsal {
    tested_by(&Arc::new(Egress::new(options()).unwrap()), Clock::system(), webhook).await
}

/// What holds of every test.
fn check(rehearsal: &Rehearsal) {
    let names: Vec<&str> = rehearsal.steps.iter().map(|step| step.name).collect();
    assert_eq!(names, ALL);
    let failed = rehearsal.steps.iter().position(|step| step.state == State::Failed);
    assert_eq!(failed.is_none(), rehearsal.delivered, "{:?}", rehearsal.steps);
    for (place, step) in rehearsal.steps.iter().enumerate() {
        let is_behind = failed.is_some_and(|failed| place > failed);
        assert_eq!(step.state == State::NotTried, is_behind, "{step:?}");
        assert_eq!(step.cause.is_some(), step.state == State::Failed, "{step:?}");
        assert!(!step.detail.is_empty() && !step.detail.contains('\n'), "{step:?}");
        assert!(!step.detail.contains(CANARY), "{step:?}");
    }
}

fn step<'a>(rehearsal: &'a Rehearsal, name: &str) -> &'a Step {
    rehearsal.steps.iter().find(|step| step.name == name).unwrap()
}

/// The step that failed, with its detail and cause.
#[track_caller]
fn failure(rehearsal: &Rehearsal) -> (&'static str, &str, &'static str) {
    let failed = rehearsal.steps.iter().find(|step| step.state == State::Failed).expect("a step failed");
    (failed.name, &failed.detail, failed.cause.unwrap())
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        if let Some((head, body)) = String::from_utf8_lossy(&seen).split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(format!("{head}\r\n\r\n{body}"));
            }
        }
        if stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
    }
}

async fn serve(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &[u8], seen: &Requests) {
    let Some(request) = read_request(stream).await else { return };
    seen.lock().unwrap().push(request);
    if answer.ends_with(b"...") {
        let _ = stream.write_all(&answer[..answer.len() - 3]).await;
        // For ever.
        while stream.write_all(b"400\r\n").await.is_ok() && stream.write_all(&[b'x'; 0x400]).await.is_ok() {
            if stream.write_all(b"\r\n").await.is_err() {
                return;
            }
        }
    } else {
        let _ = stream.write_all(answer).await;
        let _ = stream.flush().await;
        if !answer.is_empty() {
            // Until the other side has had enough.
            while stream.read_buf(&mut Vec::new()).await.is_ok_and(|count| count > 0) {}
        }
    }
}

/// A receiver with this answer; an empty one closes at once. With a trailing `...` it goes on with
/// chunks for ever.
async fn receiver(answer: impl Into<Vec<u8>>, tls: Option<TlsAcceptor>) -> (u16, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (answer, requests) = (Arc::new(answer.into()), Requests::default());
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, seen, tls) = (Arc::clone(&answer), Arc::clone(&seen), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve(&mut stream, &answer, &seen).await,
                    Some(tls) => {
                        let Ok(mut stream) = tls.accept(stream).await else { return };
                        serve(&mut stream, &answer, &seen).await;
                    }
                }
            });
        }
    });
    (port, requests)
}

fn answer(code: u16) -> String {
    format!(
        "HTTP/1.1 {code} {CANARY}\r\nLocation: https://{CANARY}.example/\r\nX-A: {CANARY}\r\nContent-Length: 6\r\n\r\n{CANARY}"
    )
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of this issuer for `host`, valid in these years.
fn acceptor(issuer: &Authority, host: &str, years: (i32, i32)) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let chain = vec![params.signed_by(&key, issuer).unwrap().der().clone()];
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn the_request_is_a_real_one_with_a_mark() {
    let (port, requests) = receiver(answer(204), None).await;
    let key = SigningKey {
        current: Secret::new("key".to_owned()),
        changed_at: Timestamp::default(),
        previous: Some((Secret::new("old".to_owned()), Timestamp::from_millis(u64::MAX / 2))),
    };
    let mut webhook = webhook(format!("http://hook.example:{port}/a?b=c"));
    webhook.headers.push(Header { name: "X-Own".to_owned(), value: Own::Secret(Secret::new("mine".to_owned())) });
    webhook.signing_key = Some(key.clone());
    let rehearsal = tested(webhook).await;
    assert!(rehearsal.delivered);
    assert_eq!(rehearsal.outcome.result, Ok(204));
    let sent = requests.lock().unwrap().join("");
    let sent_header = |name: &str| {
        let found =
            sent.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    assert!(sent.starts_with("POST /a?b=c HTTP/1.1\r\n") && sent.ends_with("\r\n\r\n{\"a\":1}"), "{sent}");
    for (name, value) in [
        ("postrider-test", "true"),
        ("postrider-attempt", "1"),
        ("postrider-attempts-left", "0"),
        ("idenfy-event-type", "IDENTIFICATION_CANCELLED"),
        ("content-type", "application/json"),
        ("x-own", "mine"),
        ("idenfy-signature", &Signer::new(&key).body_signature(b"{\"a\":1}")),
    ] {
        assert_eq!(sent_header(name), value, "{name}");
    }
    let (id, at) = (sent_header("webhook-id"), sent_header("webhook-timestamp").parse().unwrap());
    assert!(id.starts_with("evt_") && sent_header("postrider-delivery").starts_with("dlv_"));
    let expected = Signer::new(&key).standard_signature(&id, at, b"{\"a\":1}", Timestamp::from_millis(at * 1000));
    assert_eq!(sent_header("webhook-signature"), expected);

    let details: Vec<(&str, State)> = rehearsal.steps.iter().map(|step| (step.name, step.state)).collect();
    let (ok, skip) = (State::Passed, State::Skipped);
    let states = [ok, ok, ok, skip, skip, ok, ok, ok];
    assert_eq!(details, ALL.into_iter().zip(states).collect::<Vec<_>>());
    assert_eq!(step(&rehearsal, "dns").detail, "127.0.0.1");
    assert_eq!(step(&rehearsal, "connect").detail, format!("127.0.0.1:{port}"));
    assert!(step(&rehearsal, "signature").detail.contains("the previous key signs"));
    let request = &step(&rehearsal, "request").detail;
    assert_eq!(request, "POST of 7 bytes as IDENTIFICATION_CANCELLED, which the webhook does not subscribe to");
    let masked = rehearsal.request.unwrap();
    for secret in ["x-own", "idenfy-signature", "webhook-signature"] {
        assert!(masked.headers[secret].is_sensitive(), "{secret}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_success_is_named_with_its_cause() {
    for (code, cause) in [
        (302, "final URL"),
        (401, "Authorization"),
        (403, "firewall"),
        (404, "path"),
        (405, "POST"),
        (410, "no more events"),
        (413, "larger"),
        (415, "Content-Type"),
        (500, "log"),
        (503, "overloaded"),
    ] {
        let (port, requests) = receiver(answer(code), None).await;
        let rehearsal = tested(webhook(format!("http://127.0.0.1:{port}/"))).await;
        let (name, detail, likely) = failure(&rehearsal);
        assert_eq!((name, rehearsal.outcome.result), ("response", Ok(code)));
        assert!(detail.starts_with(&code.to_string()) && likely.contains(cause), "{detail}: {likely}");
        assert_eq!(requests.lock().unwrap().len(), 1, "once, whatever it says");
        assert_eq!(step(&rehearsal, "dns").state, State::Skipped);
        assert_eq!(step(&rehearsal, "signature").detail, "no signing key: not signed");
    }
}

#[tokio::test]
async fn no_answer_is_named_with_its_cause() {
    let (closing, _) = receiver("", None).await;
    let (babbling, _) = receiver(format!("SSH-2.0-{CANARY}\r\n"), None).await;
    for (port, kind, cause) in
        [(closing, ErrorKind::Reset, "crashed"), (babbling, ErrorKind::BadResponse, "no web server")]
    {
        let rehearsal = tested(webhook(format!("http://127.0.0.1:{port}/"))).await;
        let (name, _, likely) = failure(&rehearsal);
        assert_eq!((name, rehearsal.outcome.result), ("response", Err(kind)));
        assert!(likely.contains(cause), "{likely}");
    }
    // Accepted by the kernel, and by nobody else.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    for (scheme, failing) in [("http", "response"), ("https", "tls")] {
        let mut webhook = webhook(format!("{scheme}://127.0.0.1:{port}/"));
        webhook.timeout = Duration::from_millis(200);
        let rehearsal = tested(webhook).await;
        assert_eq!((failure(&rehearsal).0, rehearsal.outcome.result), (failing, Err(ErrorKind::Timeout)));
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_reached_is_named_with_its_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let refused = tested(webhook(format!("http://hook.example:{port}/"))).await;
    let (name, detail, cause) = failure(&refused);
    assert_eq!((name, detail), ("connect", format!("127.0.0.1:{port}: connection refused").as_str()));
    assert!(cause.contains("nothing listens"), "{cause}");

    let unknown = tested(webhook("https://nowhere.example/".to_owned())).await;
    assert_eq!((failure(&unknown).0, unknown.outcome.result), ("dns", Err(ErrorKind::Dns)));
    assert!(failure(&unknown).2.contains("mistyped"));

    let strict = Arc::new(
        Egress::new(EgressOptions { policy: AddressPolicy::default(), allow_http: false, ..options() }).unwrap(),
    );
    for url in ["https://127.0.0.1/", "https://hook.example/"] {
        let blocked = tested_by(&strict, Clock::system(), webhook(url.to_owned())).await;
        let (name, detail, cause) = failure(&blocked);
        assert_eq!((name, blocked.outcome.result), ("connect", Err(ErrorKind::Blocked)));
        assert!(detail.ends_with("[egress] allow = [\"127.0.0.1/32\"]"), "{detail}");
        assert!(cause.contains("egress.allow"), "{cause}");
    }
    let plain = tested_by(&strict, Clock::system(), webhook("http://hook.example/".to_owned())).await;
    assert_eq!(failure(&plain).0, "url");
    let wrong = tested(webhook("https://".to_owned())).await;
    assert_eq!((failure(&wrong).0, wrong.request.is_none()), ("url", true));
}

#[tokio::test]
async fn each_way_for_tls_to_fail_has_its_own_cause() {
    let (ours, stranger) = (authority(), authority());
    let valid = (2001, 4000);
    let secure = |acceptor| receiver(answer(200), Some(acceptor));
    let cases = [
        (secure(acceptor(&ours, "hook.example", (2001, 2002))).await, "expired at 2002-01-01", "not renewed"),
        (secure(acceptor(&ours, "hook.example", (3000, 4000))).await, "not valid yet", "clock"),
        (secure(acceptor(&ours, "other.example", valid)).await, "another name", "otherwise"),
        (secure(acceptor(&stranger, "hook.example", valid)).await, "not trusted", "tls.ca"),
        (receiver(answer(200), None).await, "", "http"),
    ];
    for ((port, requests), told, cause) in cases {
        let mut webhook = webhook(format!("https://hook.example:{port}/"));
        webhook.tls.ca = Some(ours.pem());
        if told.is_empty() {
            // Whoever reads lines of text waits for the end of one in the middle of a greeting.
            webhook.timeout = Duration::from_millis(200);
        }
        let rehearsal = tested(webhook).await;
        let (name, detail, likely) = failure(&rehearsal);
        assert_eq!(name, "tls");
        assert!(detail.contains(told), "{detail} does not say {told}");
        assert!(likely.contains(cause) || told.is_empty(), "{likely} does not say {cause}");
        assert_eq!(requests.lock().unwrap().len(), 0);
    }

    // What a web server says to a greeting that it does not understand.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
        stream.write_all(answer(400).as_bytes()).await.unwrap();
        while stream.read_buf(&mut Vec::new()).await.is_ok_and(|count| count > 0) {}
    });
    let plain = tested(webhook(format!("https://hook.example:{port}/"))).await;
    let (name, detail, cause) = failure(&plain);
    assert_eq!((name, detail), ("tls", "what answered does not speak TLS"));
    assert!(cause.contains("plain HTTP port"), "{cause}");
}

#[tokio::test]
async fn the_days_that_a_certificate_has_left_are_told() {
    let ours = authority();
    let (port, _) = receiver(answer(200), Some(acceptor(&ours, "hook.example", (2001, 4000)))).await;
    let mut webhook = webhook(format!("https://hook.example:{port}/"));
    webhook.tls = ClientTls { ca: Some(ours.pem()), ..ClientTls::default() };
    let mut ca_file = tempfile::NamedTempFile::new().unwrap();
    ca_file.write_all(ours.pem().as_bytes()).unwrap();
    let egress =
        Arc::new(Egress::new(EgressOptions { ca_file: Some(ca_file.path().to_owned()), ..options() }).unwrap());
    let expires_at: u64 = 64_060_588_800_000; // 4000-01-01
    for (days, told) in [(58, "valid for 58 more days"), (9, "valid for 9 more days: have it renewed")] {
        let now = Timestamp::from_millis(expires_at - days * 86_400_000 - 3_600_000);
        for tls in [webhook.tls.clone(), ClientTls::default()] {
            let rehearsal = tested_by(&egress, Clock::simulated(now), Webhook { tls, ..webhook.clone() }).await;
            assert!(rehearsal.delivered);
            let detail = &step(&rehearsal, "tls").detail;
            assert!(detail.starts_with("TLS 1.3") && detail.ends_with(told), "{detail}");
        }
    }
}

#[tokio::test]
async fn an_endless_answer_is_an_answer() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n...";
    let (port, _) = receiver(head, None).await;
    assert!(tested(webhook(format!("http://127.0.0.1:{port}/"))).await.delivered);
}

#[tokio::test]
async fn certificates_of_no_use_fail_before_anything_is_sent() {
    let ours = authority();
    let (port, requests) = receiver(answer(200), Some(acceptor(&ours, "hook.example", (2001, 4000)))).await;
    let mut webhook = webhook(format!("https://hook.example:{port}/"));
    webhook.tls.ca = Some("nothing".to_owned());
    let rehearsal = tested(webhook).await;
    assert!(failure(&rehearsal).1.starts_with("tls.ca holds no certificate"));
    assert_eq!((failure(&rehearsal).0, requests.lock().unwrap().len()), ("tls", 0));
}

#[tokio::test]
async fn an_access_token_is_fetched_and_shown_to_nobody() {
    let body = format!("{{\"access_token\":\"{CANARY}-token\",\"token_type\":\"Bearer\"}}");
    let good = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (token_port, asked) = receiver(good, None).await;
    let (port, requests) = receiver(answer(200), None).await;
    let with = |port: u16, token_port: u16| {
        let (token, request) = (Secret::new("Basic eDp5".to_owned()), Secret::new("scope=a".to_owned()));
        let endpoint = format!("http://127.0.0.1:{token_port}/token");
        let oauth = Some(OAuth { endpoint, token: Some(token), request: Some(request) });
        Webhook { oauth, ..webhook(format!("http://127.0.0.1:{port}/")) }
    };
    let rehearsal = tested(with(port, token_port)).await;
    assert!(rehearsal.delivered);
    let asked = asked.lock().unwrap().join("");
    assert!(asked.to_ascii_lowercase().contains("authorization: basic edp5") && asked.ends_with("scope=a"), "{asked}");
    assert!(requests.lock().unwrap()[0].contains(&format!("Authorization: Bearer {CANARY}-token\r\n")));
    assert!(rehearsal.request.unwrap().headers[AUTHORIZATION].is_sensitive());

    for (bad, told) in [
        (answer(401), "answered 401"),
        (answer(200), "not a JSON object"),
        (String::new(), "closed the connection without an answer"),
    ] {
        let (token_port, _) = receiver(bad, None).await;
        let rehearsal = tested(with(port, token_port)).await;
        let (name, detail, _) = failure(&rehearsal);
        assert_eq!((name, rehearsal.outcome.result), ("oauth", Err(ErrorKind::Oauth)));
        assert!(detail.contains(told), "{detail}");
        assert_eq!(step(&rehearsal, "connect").state, State::Passed, "what is before it was tried all the same");
        assert_eq!(requests.lock().unwrap().len(), 1, "and nothing was sent");
    }
}

#[tokio::test]
async fn what_a_proxy_says_is_told_in_its_step() {
    for (answered, expected) in [
        (407, "407, the proxy wants a user and a password that it knows"),
        (403, "403, the proxy does not permit it"),
        (502, "502, the proxy did not reach the receiver"),
    ] {
        let (port, _) = receiver(answer(answered), None).await;
        let proxy = Proxy::new(&Url::parse(&format!("http://127.0.0.1:{port}")).unwrap());
        let egress = Arc::new(Egress::new(EgressOptions { proxy, ..options() }).unwrap());
        let rehearsal = tested_by(&egress, Clock::system(), webhook("https://unknown.example/".into())).await;
        check(&rehearsal);
        let (name, detail, _) = failure(&rehearsal);
        assert_eq!((name, detail), ("connect", expected));
        assert_eq!(step(&rehearsal, "dns").detail, "left to the proxy");
    }
}
