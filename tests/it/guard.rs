//! Where a request can be led: addresses that should not be reached, however they are written; redirects; proxies of the
//! environment. What must not be connected to is listened on, so that a connection would be seen.

use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::rows::covered;
use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, answer};

/// Hosts in URLs that stand for this machine, its networks, cloud metadata, or nobody anywhere.
const HOSTS: &[&str] = &[
    // This machine, as URLs let one write it.
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7F.0.0.1",
    "0177.0.0.1",
    "0177.1",
    "017700000001",
    "127.0.0.1.",
    "127.255.255.254",
    "0.0.0.0",
    "0",
    "0x0",
    "00.0",
    "0.255.255.255",
    "①②⑦.⓪.⓪.①",
    "１２７.０.０.１",
    "127。0。0。1",
    "127%2e0%2e0%2e1",
    "user:password@127.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    // The same within IPv6.
    "[::ffff:127.0.0.1]",
    "[::FFFF:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:7f00:1::1]",
    "[2001:0:7f00:1::]",
    "[2001::1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[::ffff:10.0.0.1]",
    // Metadata services.
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[fd00:ec2::254]",
    // Both edges of what is not for everybody.
    "169.254.0.0",
    "169.254.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.168.0.0",
    "192.168.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "192.0.0.0",
    "192.0.0.255",
    "192.0.2.0",
    "192.0.2.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.0",
    "203.0.113.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
    "[fc00::]",
    "[fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]",
    "[fe80::]",
    "[febf::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[100::1]",
];

/// A listener on every address of this machine.
struct Canary(TcpListener);

impl Canary {
    fn start() -> Self {
        Self(TcpListener::bind("[::]:0").unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Waits for one connection and drops it.
    fn expect_one(&self) {
        self.0.accept().unwrap();
    }

    #[track_caller]
    fn expect_none(&self) {
        self.0.set_nonblocking(true).unwrap();
        let connected = self.0.accept();
        assert!(connected.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{connected:?}");
    }
}

fn hook(name: &str, url: &str, oauth: Option<&str>) -> Value {
    let mut hook =
        json!({"name": name, "url": url, "event_types": ["*"], "retry": {"count": 0, "interval_seconds": 60}});
    if let Some(endpoint) = oauth {
        hook["oauth"] = json!({"endpoint": endpoint, "token": "t", "request": "grant_type=client_credentials"});
    }
    hook
}

/// Every delivery of a state.
fn listed(daemon: &Daemon, state: &str) -> Vec<Value> {
    let list = daemon.admin(&format!("GET /v1/deliveries?state={state}&limit=500"), "");
    if list.status == 200 { list.json()["items"].as_array().unwrap().clone() } else { Vec::new() }
}

fn with_allow(daemon: &Daemon, allow: &str) {
    let file = daemon.folder.path().join("postrider.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().map(|line| if line.starts_with("allow = ") { allow } else { line });
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

#[test]
fn no_spelling_of_a_denied_address_is_dialled_for_a_delivery_a_token_or_a_test() {
    let mut daemon = Daemon::start("");
    let canary = Canary::start();
    let port = canary.port();
    let url = |host: &str| format!("http://{host}:{port}/");
    // Saved while everything was permitted, so that only the guard at the dial stands in the way.
    assert_eq!(daemon.stop(), 0);
    with_allow(&daemon, "allow = [\"0.0.0.0/0\", \"::/0\"]");
    daemon.start_again();
    let (mut made, mut no_url) = (0, 0);
    for (number, host) in HOSTS.iter().enumerate() {
        for (kind, oauth) in [("plain", None), ("oauth", Some(url(host)))] {
            let mut fields = hook(&format!("{kind}-{number}"), &url(host), oauth.as_deref());
            fields["paused"] = true.into();
            let saved = daemon.admin("POST /v1/webhooks", &fields.to_string());
            match saved.status {
                201 => made += 1,
                // Some are no URL at all, or one with a name and password.
                422 => no_url += 1,
                _ => panic!("{host}: {saved:?}"),
            }
        }
    }
    let control = daemon.admin("POST /v1/webhooks", &hook("control", &url("127.0.0.1"), None).to_string());
    assert_eq!(control.status, 201, "{control:?}");
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
    canary.expect_one();
    daemon.until("the control is over", |daemon| (listed(daemon, "failed").len() == 1).then_some(()));

    assert_eq!(daemon.stop(), 0);
    with_allow(&daemon, "allow = []");
    daemon.start_again();
    for webhook in daemon.admin("GET /v1/webhooks", "").json()["items"].as_array().unwrap() {
        daemon.admin(&format!("POST /v1/webhooks/{}/resume", webhook["id"].as_str().unwrap()), "");
    }
    let failed = daemon.until("all are over", |daemon| {
        let failed = listed(daemon, "failed");
        (failed.len() == made + 1).then_some(failed)
    });
    for delivery in &failed {
        let name = delivery["webhook_name"].as_str().unwrap();
        let expected = if name.starts_with("oauth") { "oauth" } else { "blocked" };
        assert!(name == "control" || delivery["last_error"] == expected, "{delivery}");
        assert_eq!(delivery["last_code"], 0, "{delivery}");
    }
    // And now, not even saving: with the receiver's address, and with that of the authorization server.
    for host in HOSTS {
        for oauth in [None, Some(url(host))] {
            let fields = hook("new", &url(host), oauth.as_deref());
            let saved = daemon.admin("POST /v1/webhooks", &fields.to_string());
            assert_eq!(saved.status, 422, "{host}: {saved:?}");
            let tested = daemon.admin("POST /v1/webhooks/test", &fields.to_string());
            assert!(matches!(tested.status, 200 | 422), "{host}: {tested:?}");
            assert!(tested.status == 422 || tested.json()["code"] == 0, "{host}: {tested:?}");
        }
    }
    canary.expect_none();
    let figure = format!(
        "0 connections: {} spellings, {made} deliveries of webhooks saved before, {} tests; {no_url} are no URL",
        HOSTS.len(),
        2 * HOSTS.len()
    );
    covered(&["T1"], "no_spelling_of_a_denied_address_is_dialled_for_a_delivery_a_token_or_a_test", figure);
}

#[test]
fn a_redirection_is_an_answer_and_is_not_followed() {
    let other = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    let targets = [
        other.url("/stolen"),
        "/loop".to_owned(),
        "//other.example/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "\u{1}".to_owned(),
    ];
    let codes =
        ["300 Many", "301 Moved", "302 Found", "303 See Other", "304 Not Modified", "307 Temporary", "308 Permanent"];
    let told = targets.clone();
    let receiver = Receiver::start(Box::new(move |request| {
        let path: Vec<usize> =
            request.head.split(' ').nth(1)?.split('/').skip(1).map(|part| part.parse().unwrap()).collect();
        Some(answer(codes[path[0]], &[&format!("Location: {}", told[path[1]])], "moved"))
    }));
    let daemon = Daemon::start("");
    let mut count = 0;
    for (code, _) in codes.iter().enumerate() {
        for (target, _) in targets.iter().enumerate() {
            let mut fields = hook(&format!("{code}-{target}"), &receiver.url(&format!("/{code}/{target}")), None);
            fields["headers"] = json!([{"name": "X-Api-Key", "value": "canary", "secret": true}]);
            assert_eq!(daemon.admin("POST /v1/webhooks", &fields.to_string()).status, 201);
            count += 1;
        }
    }
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
    let failed = daemon.until("all are over", |daemon| {
        let failed = listed(daemon, "failed");
        (failed.len() == count).then_some(failed)
    });
    for delivery in &failed {
        let code: usize = delivery["webhook_name"].as_str().unwrap()[..1].parse().unwrap();
        // What is no header at all is no answer.
        let expected: u16 = codes[code][..3].parse().unwrap();
        let broken = delivery["webhook_name"].as_str().unwrap().ends_with("-5") && delivery["last_code"] == 0;
        assert!(broken || (delivery["last_code"] == expected && delivery["last_class"] == "3xx"), "{delivery}");
        assert_eq!(delivery["attempts_made"], 1);
    }
    assert_eq!(receiver.received(0).len(), count);
    assert_eq!(other.received(0).len(), 0);
    let figure = format!("{count} redirections, 1 request each, 0 followed");
    covered(&["T3", "F20"], "a_redirection_is_an_answer_and_is_not_followed", figure);
}

#[test]
fn proxies_of_the_environment_are_not_asked() {
    let proxy = Canary::start();
    let receiver = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    let mut daemon = Daemon::start("");
    assert_eq!(daemon.stop(), 0);
    let address = format!("http://127.0.0.1:{}", proxy.port());
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "FTP_PROXY"];
    let lines: Vec<String> = names.iter().map(|name| format!("{name}={address}\n")).collect();
    std::fs::write(daemon.folder.path().join("environment"), lines.concat()).unwrap();
    daemon.start_again();
    let saved = daemon.admin("POST /v1/webhooks", &hook("w", &receiver.url("/"), None).to_string());
    assert_eq!(saved.status, 201);
    let tested = daemon.admin("POST /v1/webhooks/w/test", "{}").json();
    assert_eq!(tested["code"], 200, "{tested}");
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
    daemon.until("it is delivered", |daemon| (listed(daemon, "delivered").len() == 1).then_some(()));
    assert_eq!(receiver.received(2).len(), 2);
    proxy.expect_none();
    covered(
        &["T4"],
        "proxies_of_the_environment_are_not_asked",
        format!("{} variables, 0 connections to the proxy", names.len()),
    );
}
