//! OAuth towards receivers: hours of expiring tokens under simulated time, and the program itself
//! with an authorization server and a receiver on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postrider::domain::attempt::ErrorKind;
use postrider::domain::credentials::OAuth;
use postrider::domain::delivery::State;
use postrider::domain::secret::Secret;
use postrider::domain::time::Timestamp;
use postrider::index::Query;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::world::{START, World};

const LIFE: Duration = Duration::from_mins(10);

/// A token that tells when it was issued.
fn issue(now: Timestamp) -> (u16, Duration, String) {
    let body = json!({"access_token": format!("at-{}", now.millis()), "expires_in": LIFE.as_secs()});
    (200, Duration::from_millis(300), body.to_string())
}

fn issued_at(authorization: Option<&str>) -> Timestamp {
    Timestamp::from_millis(authorization.unwrap().strip_prefix("Bearer at-").unwrap().parse().unwrap())
}

async fn set_up(seed: u64, retry_count: u16) -> World {
    let world = World::new(seed);
    world.receivers.set("w", |_| (200, Duration::from_millis(40)));
    world.receivers.set_issuer(issue);
    let id = world.webhook("w", retry_count, 60, 8).await;
    let oauth = OAuth {
        endpoint: "https://auth.example/token".to_owned(),
        token: Some(Secret::new("x".to_owned())),
        request: None,
    };
    world.change(id, |webhook| webhook.oauth = Some(oauth)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn six_hours_of_expiring_tokens_never_show_a_stale_one() {
    let world = set_up(31, 0).await;
    // The token was good when it was issued, and still is when it arrives.
    world.receivers.guard("w", |now, shown| now < issued_at(shown).plus(LIFE));
    let hours = 6;
    for number in 0..hours * 240_u64 {
        world.post(&format!("r{number}"), "{}").await.unwrap();
        world.post(&format!("s{number}"), "{}").await.unwrap();
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    world.until_idle(Duration::from_mins(1)).await;
    let receipts = world.receivers.receipts();
    assert_eq!(receipts.len() as u64, hours * 480);
    assert!(receipts.iter().all(|one| one.ended.unwrap().1 == 200), "no 401 at all");
    let asked = world.receivers.token_requests().len() as u64;
    // One every nine minutes, at the next event.
    assert!((38..=40).contains(&asked), "{asked} tokens in {hours} hours");
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_withdrawn_cost_one_request_and_no_attempt() {
    let world = set_up(32, 0).await;
    // Every 7 minutes everything that was issued before is worth nothing.
    let withdrawn = |now: Timestamp| START.plus(Duration::from_secs(now.since(START).as_secs() / 420 * 420));
    world.receivers.guard("w", move |now, shown| issued_at(shown) >= withdrawn(now));
    for number in 0..700 {
        world.post(&format!("r{number}"), "{}").await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    world.until_idle(Duration::from_mins(1)).await;
    let found = world.deliveries(Query::default()).await;
    assert_eq!(found.len(), 700);
    for one in found {
        assert_eq!((one.delivery.state(), one.attempts.len()), (State::Delivered, 1), "{}", one.id);
    }
    let receipts = world.receivers.receipts();
    let refused = receipts.iter().filter(|one| one.ended.unwrap().1 == 401).count();
    assert!((14..=17).contains(&refused), "{refused} times 401");
    assert_eq!(world.receivers.token_requests().len(), refused + 1);
}

#[tokio::test(start_paused = true)]
async fn while_there_are_no_tokens_nothing_is_sent_and_nothing_is_lost() {
    let world = set_up(33, 40).await;
    world.receivers.guard("w", |now, shown| now < issued_at(shown).plus(LIFE));
    let (from, to) = (START.plus(Duration::from_mins(20)), START.plus(Duration::from_mins(50)));
    world.receivers.set_issuer(move |now| {
        if now >= from && now < to { (503, Duration::from_millis(20), "busy".to_owned()) } else { issue(now) }
    });
    for number in 0..400 {
        world.post(&format!("r{number}"), "{}").await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    world.until_idle(Duration::from_hours(2)).await;
    let found = world.deliveries(Query::default()).await;
    let mut without = 0;
    for one in &found {
        assert_eq!(one.delivery.state(), State::Delivered, "{}", one.id);
        for attempt in &one.attempts {
            match attempt.outcome.result {
                Ok(code) => assert_eq!(code, 200),
                Err(kind) => {
                    assert_eq!(kind, ErrorKind::Oauth);
                    without += 1;
                }
            }
        }
    }
    assert_eq!(found.len(), 400);
    assert!(without >= 100, "{without} attempts without a token");
    let receipts = world.receivers.receipts();
    assert_eq!(receipts.len(), 400, "the receiver was asked once for each");
    let requests = world.receivers.token_requests();
    let failed: Vec<_> = requests.iter().filter(|(_, code)| *code == 503).collect();
    assert!(failed.len() < without, "{} requests for {without} attempts", failed.len());
    let gently = failed.windows(2).all(|pair| pair[1].0.since(pair[0].0) >= Duration::from_secs(1));
    assert!(gently, "a server that fails is asked once a second at most: {failed:?}");
    crate::rows::covered(
        &["F26"],
        "while_there_are_no_tokens_nothing_is_sent_and_nothing_is_lost",
        "0 requests without a token, 0 lost",
    );
}

/// A request as it came in.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    head: String,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What a server does with a request; nothing at all for `None`, until the client has gone.
type Answer = dyn Fn(&Seen) -> Option<(u16, String)> + Send + Sync;

/// An HTTP server on loopback that does what a test says.
struct Server {
    at: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    fn start(answer: impl Fn(&Seen) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&kept));
                std::thread::spawn(move || converse(stream.unwrap(), &*answer, &seen));
            }
        });
        Self { at, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// One connection, request by request. The client may go away at any time.
fn converse(stream: TcpStream, answer: &Answer, seen: &Mutex<Vec<Seen>>) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let mut request = Seen { path, head, body: String::new() };
        let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        request.body = String::from_utf8(body).unwrap();
        seen.lock().unwrap().push(request.clone());
        let Some((code, body)) = answer(&request) else {
            let _ = reader.read(&mut [0]);
            return;
        };
        let location = if code / 100 == 3 { "Location: /elsewhere\r\n" } else { "" };
        let length = body.len();
        let sent = write!(writer, "HTTP/1.1 {code} x\r\n{location}Content-Length: {length}\r\n\r\n{body}");
        if sent.is_err() {
            return;
        }
    }
}

fn webhook(name: &str, url: &str, endpoint: &str) -> String {
    json!({
        "name": name, "url": url, "event_types": ["*"],
        "retry": {"count": 0, "interval_seconds": 1}, "timeout_seconds": 2,
        "oauth": {
            "endpoint": endpoint, "token": "Basic canary-basic",
            "request": "grant_type=client_credentials&scope=canary-scope",
        },
    })
    .to_string()
}

fn ended(daemon: &Daemon, webhook: &str) -> Value {
    let path = format!("GET /v1/deliveries?webhook={webhook}");
    let id = daemon.until("it has ended", |daemon| {
        let one = daemon.admin(&path, "").json()["items"][0].clone();
        (one["state"] == "delivered" || one["state"] == "failed").then(|| one["id"].as_str().unwrap().to_owned())
    });
    daemon.admin(&format!("GET /v1/deliveries/{id}"), "").json()
}

#[test]
fn the_receiver_is_shown_a_token_that_nobody_else_sees() {
    let issued = Mutex::new(0);
    let server = Server::start(move |_| {
        let mut issued = issued.lock().unwrap();
        *issued += 1;
        Some((200, format!("{{\"access_token\":\"canary-{issued}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}")))
    });
    let receiver = Server::start(|request| {
        let first = request.header("authorization") == Some("Bearer canary-1");
        Some((if first { 401 } else { 200 }, String::new()))
    });
    let mut daemon = Daemon::start("[log]\nlevel = \"trace\"\n");
    let made = daemon.admin("POST /v1/webhooks", &webhook("w", &receiver.url("/hook"), &server.url("/token?a=b")));
    assert_eq!(made.status, 201, "{made:?}");
    daemon.post("/v1/events/SOS_REPORT", "{\"scanRef\":\"s\"}");
    let shown = ended(&daemon, "w");
    assert_eq!(shown["state"], "delivered");
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["code"]), (1, &json!(200)), "the 401 is part of the same attempt");
    let headers = shown["request"]["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["authorization", "…"])), "{headers:?}");
    let deliveries = receiver.seen();
    let with: Vec<_> = deliveries.iter().map(|one| one.header("authorization").unwrap()).collect();
    assert_eq!(with, ["Bearer canary-1", "Bearer canary-2"]);
    for name in ["webhook-id", "webhook-timestamp", "postrider-attempt", "postrider-delivery"] {
        assert_eq!(deliveries[0].header(name), deliveries[1].header(name), "{name}");
    }
    let asked = server.seen();
    assert_eq!((asked.len(), asked[0].path.as_str()), (2, "/token?a=b"));
    assert_eq!(asked[0].header("authorization"), Some("Basic canary-basic"));
    assert_eq!(asked[0].header("accept"), Some("application/json"));
    assert_eq!(asked[0].header("user-agent"), deliveries[0].header("user-agent"));
    assert_eq!(asked[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(asked[0].body, "grant_type=client_credentials&scope=canary-scope");
    daemon.post("/v1/events/SOS_REPORT", "{}");
    daemon.until("the next one is delivered", |_| (receiver.seen().len() == 3).then_some(()));
    assert_eq!(server.seen().len(), 2, "the token is kept");
    let views = [made.body, shown.to_string(), daemon.admin("GET /v1/webhooks/w", "").body];
    assert!(views.iter().all(|view| !view.contains("canary")), "{views:?}");
    assert_eq!(daemon.stop(), 0);
    let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap();
    assert!(!log.contains("canary"), "{log}");
}

#[test]
fn whatever_the_server_does_is_an_attempt_with_a_reason() {
    let huge = format!("{{\"access_token\":\"{}\"}}", "canary".repeat((10 << 20) / 6));
    let server = Server::start(move |request| match request.path.as_str() {
        "/refused" => Some((401, "{\"error\":\"canary\"}".to_owned())),
        "/redirected" => Some((302, String::new())),
        "/huge" => Some((200, huge.clone())),
        "/garbage" => Some((200, "<html>canary</html>".to_owned())),
        "/forged" => Some((200, "{\"access_token\":\"canary\\r\\nX-Forged: 1\"}".to_owned())),
        "/silent" => None,
        path => panic!("{path} was asked for"),
    });
    let receiver = Server::start(|_| Some((200, String::new())));
    let mut daemon = Daemon::start("[log]\nlevel = \"trace\"\n");
    let cases = [
        ("refused", server.url("/refused"), "the authorization server answered 401"),
        ("redirected", server.url("/redirected"), "redirects are not followed"),
        ("huge", server.url("/huge"), "larger than 64 KiB"),
        ("garbage", server.url("/garbage"), "not a JSON object"),
        ("forged", server.url("/forged"), "visible ASCII"),
        ("silent", server.url("/silent"), "no answer of the authorization server within"),
        ("closed", "http://127.0.0.1:9/".to_owned(), "refuses the connection"),
    ];
    for (name, endpoint, _) in &cases {
        assert_eq!(daemon.admin("POST /v1/webhooks", &webhook(name, &receiver.url("/"), endpoint)).status, 201);
    }
    daemon.post("/v1/events/SOS_REPORT", "{}");
    for (name, ..) in &cases {
        let shown = ended(&daemon, name);
        assert_eq!((&shown["state"], &shown["last_error"]), (&json!("failed"), &json!("oauth")), "{name}");
        assert_eq!((&shown["last_code"], shown["attempts"].as_array().unwrap().len()), (&json!(0), 1), "{name}");
        let took = shown["attempts"][0]["duration_ms"].as_f64().unwrap();
        assert!(if *name == "silent" { took >= 1_999.0 } else { took < 2_500.0 }, "{name}: {took} ms");
    }
    assert_eq!(receiver.seen().len(), 0, "nothing is sent without a token");
    assert_eq!(daemon.stop(), 0);
    let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap();
    for (name, _, words) in &cases {
        assert!(log.lines().any(|line| line.contains("no access token") && line.contains(words)), "{name}: {log}");
    }
    assert!(!log.contains("canary"), "{log}");
    crate::rows::covered(
        &["F26"],
        "whatever_the_server_does_is_an_attempt_with_a_reason",
        "each way of failing is an attempt with a reason",
    );
}

#[test]
fn the_address_of_the_server_is_judged_like_a_receivers() {
    let receiver = Server::start(|_| Some((200, String::new())));
    let metadata = "http://169.254.169.254/latest/api/token";
    let mut daemon = Daemon::start("");
    let refused = daemon.admin("POST /v1/webhooks", &webhook("w", &receiver.url("/"), metadata));
    assert_eq!((refused.status, &refused.json()["problems"][0]["field"]), (422, &json!("oauth.endpoint")));
    // Saved while it was permitted; then it no longer is.
    let file = daemon.folder.path().join("postrider.toml");
    let strict = std::fs::read_to_string(&file).unwrap();
    let wide = strict.replace("\"127.0.0.0/8\"", "\"127.0.0.0/8\", \"169.254.0.0/16\"");
    for (config, status) in [(&wide, 201), (&strict, 422)] {
        assert_eq!(daemon.stop(), 0);
        std::fs::write(&file, config).unwrap();
        daemon.start_again();
        let saved = daemon.admin("POST /v1/webhooks", &webhook(&format!("w{status}"), &receiver.url("/"), metadata));
        assert_eq!(saved.status, status, "{saved:?}");
    }
    daemon.post("/v1/events/SOS_REPORT", "{}");
    let shown = ended(&daemon, "w201");
    assert_eq!((&shown["state"], &shown["last_error"]), (&json!("failed"), &json!("oauth")));
    assert_eq!(receiver.seen().len(), 0);
    let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap();
    assert!(log.contains("[egress] does not permit it"), "{log}");
}
