//! T1, T2: names that lie about where they lead, and addresses that nobody should be sent to.
//!
//! Every denied address is really this machine's, and something listens on it, so a daemon that dialled one would be seen.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::bed::{Context, Report};
use crate::daemon::{Settings, Site};
use crate::http;
use crate::ledger::Ledger;
use crate::name_server::{NameServer, Told};
use crate::netns::{self, NAME_SERVER};
use crate::poster::post_all;
use crate::receiver::{Behaviour, Receiver};

/// Globally routable, and in the namespace our own.
pub(crate) const PUBLIC: &str = "11.22.33.44";
const PUBLIC_V6: &str = "2a02:1234::1";

/// First and last addresses of what is not globally routable, and those that are worth most to an attacker.
const DENIED: [&str; 38] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.255",
    "192.0.2.1",
    "192.168.0.0",
    "192.168.1.1",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.255",
    "240.0.0.1",
    "::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fdff:ffff::1",
    "5f00::1",
    "3fff::1",
];

/// Not a canary's, but leads to one: all of these are loopback to the kernel.
const DISGUISED: [&str; 4] = ["0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:169.254.169.254"];

const REBINDING: usize = 100;
const MIXED: usize = 40;
const EVENTS: usize = 16;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| unreachable!("{text} is an address"))
}

/// For the loopback device; what it has anyway is left out.
fn own_addresses() -> Vec<String> {
    let added = DENIED.into_iter().filter(|address| !address.starts_with("127.") && *address != "::1");
    let length = |address: &str| if address.contains(':') { 128 } else { 32 };
    added.chain([PUBLIC, PUBLIC_V6]).map(|address| format!("{address}/{}", length(address))).collect()
}

/// Listens on every denied address, and counts who comes.
struct Canaries {
    calls: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Canaries {
    async fn at(port: u16) -> anyhow::Result<Self> {
        let calls = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for address in DENIED {
            let at = SocketAddr::new(ip(address), port);
            let listener = TcpListener::bind(at).await.with_context(|| format!("listen on {at}"))?;
            let calls = Arc::clone(&calls);
            tasks.spawn(async move {
                while listener.accept().await.is_ok() {
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let canaries = Self { calls, _tasks: tasks };
        canaries.would_be_reached(port).await?;
        Ok(canaries)
    }

    /// A canary that nobody can reach would prove nothing.
    async fn would_be_reached(&self, port: u16) -> anyhow::Result<()> {
        let disguised = DISGUISED.into_iter();
        let all = DENIED.len() + DISGUISED.len();
        for address in DENIED.into_iter().chain(disguised) {
            let at = SocketAddr::new(ip(address), port);
            TcpStream::connect(at).await.with_context(|| format!("the canary on {at} can not be reached"))?;
        }
        while self.calls.load(Ordering::SeqCst) < all as u64 {
            tokio::task::yield_now().await;
        }
        self.calls.store(0, Ordering::SeqCst);
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Creates a webhook over the admin socket, which takes a fraction of the command line's time.
pub(crate) async fn create(
    site: &Site,
    name: &str,
    url: &str,
    oauth: Option<&str>,
    retries: u64,
) -> anyhow::Result<()> {
    let mut webhook = json!({
        "name": name, "url": url, "event_types": ["*"], "signing_key": crate::receiver::SIGNING_KEY,
        "retry": {"count": retries, "interval_seconds": 1},
    });
    if let Some(endpoint) = oauth {
        webhook["oauth"] =
            json!({"endpoint": endpoint, "token": "Bearer t", "request": "grant_type=client_credentials"});
    }
    let reply = http::admin(&site.socket, "POST", "/v1/webhooks", Some(&webhook.to_string())).await?;
    anyhow::ensure!(reply.status == 201, "{name} at {url}: {} {}", reply.status, reply.text());
    Ok(())
}

/// A daemon that may go to globally routable addresses and nowhere else.
pub(crate) fn site_without_exceptions(context: &Context) -> anyhow::Result<Site> {
    let site = Site::create(&context.binary, &context.work, context.work.join("state"), Settings::default())?;
    let text = std::fs::read_to_string(&site.config)?.replace("allow = [\"127.0.0.0/8\"]", "allow = []");
    std::fs::write(&site.config, text)?;
    Ok(site)
}

/// T1, T2. Names change between the save and each attempt; canaries on every denied address stay alone.
pub(crate) async fn rebinding_names(context: Context) -> anyhow::Result<Report> {
    if let Some(report) = netns::outside(&context, "rebinding_names", &own_addresses()).await? {
        return Ok(report);
    }
    let honest = |_: &str, _: u64| Told::Addresses(vec![ip(PUBLIC)]);
    let names = NameServer::start(NAME_SERVER, honest).await?;
    let receiver = Receiver::start_at(&context.rng(), ip(PUBLIC)).await?;
    let port = receiver.port();
    let receiver_v6 = Receiver::start_on(&context.rng(), SocketAddr::new(ip(PUBLIC_V6), port)).await?;
    let canaries = Canaries::at(port).await?;
    let site = site_without_exceptions(&context)?;
    let mut daemon = site.start().await?;
    for number in 0..REBINDING {
        let path = format!("/rebinding-{number}");
        receiver.behave(&path, Behaviour::Close);
        receiver_v6.behave(&path, Behaviour::Close);
        create(&site, &path[1..], &format!("http://r{number}.rebind.test:{port}{path}"), None, 30).await?;
    }
    for number in 0..MIXED {
        let url = format!("http://m{number}.mixed.test:{port}/mixed");
        create(&site, &format!("mixed-{number}"), &url, None, 1).await?;
        let token = format!("http://o{number}.token.test:{port}/token");
        create(&site, &format!("oauth-{number}"), &receiver.url("/oauth"), Some(&token), 1).await?;
    }
    // Saved; from here on they lie.
    names.tell(lie);
    let target = daemon.target().await?;
    let ledger = Ledger::create(&context.work.join("acks.ledger"), context.seed)?;
    post_all(&target, &ledger, &mut context.rng(), EVENTS).await?;
    for number in 0..MIXED {
        for name in [format!("rebinding-{number}"), format!("mixed-{number}"), format!("oauth-{number}")] {
            let path = format!("/v1/webhooks/{name}/test");
            let reply = http::admin(&site.socket, "POST", &path, Some("{}")).await?;
            anyhow::ensure!(reply.status == 200, "test of {name}: {} {}", reply.status, reply.text());
            let blocked = String::from_utf8_lossy(&reply.body).contains("egress");
            anyhow::ensure!(blocked || name.starts_with("rebinding"), "test of {name}: {}", reply.text());
        }
    }
    daemon.wait_for(Duration::from_secs(120), "done", |status| status["pending"] == 0).await?;
    anyhow::ensure!(canaries.calls() == 0, "{} connections to denied addresses", canaries.calls());
    // Blocked is final: about half of them met a denied address.
    let mut counts = Vec::new();
    for (state, mark) in [("delivered", "\"2xx\""), ("failed", "\"blocked\"")] {
        let rows = site.cli_ok(&["delivery", "list", "--all", "--json", "--state", state]).await?;
        counts.push(rows.lines().filter(|line| line.contains(mark) && line.contains("rebind.test")).count());
    }
    let (delivered, blocked) = (counts[0], counts[1]);
    anyhow::ensure!(delivered >= REBINDING * EVENTS / 3, "only {delivered} of {} were delivered", REBINDING * EVENTS);
    let in_all = REBINDING * EVENTS;
    anyhow::ensure!(delivered + blocked == in_all, "{delivered} delivered, {blocked} blocked, of {in_all}");
    // Names with IPv6 addresses alone are followed as well; else their lies would not have been tried.
    let over_v6: usize = (0..REBINDING).map(|number| receiver_v6.taken_len(&format!("/rebinding-{number}"))).sum();
    anyhow::ensure!(over_v6 > 50, "only {over_v6} came over IPv6");
    let tokens = names.asked("token.test");
    anyhow::ensure!(tokens >= MIXED as u64, "only {tokens} tokens were to be fetched");
    let astray = receiver.taken_len("/mixed") + receiver.taken_len("/oauth");
    anyhow::ensure!(astray == 0, "{astray} went to a name of which one address is denied");
    let asked = names.asked("rebind.test");
    anyhow::ensure!(asked >= 1_000, "only {asked} attempts asked for the name");
    daemon.stop().await?;
    let denied = DENIED.len() + DISGUISED.len();
    Ok(Report::Held(format!(
        "rebinding_lookups={asked} denied_addresses={denied} delivered={delivered} over_ipv6={over_v6} blocked={blocked} denied_connections=0"
    )))
}

/// Every other time a denied address, each in its turn; with the mixed ones, always one of both.
fn lie(name: &str, asked: u64) -> Told {
    let number: usize = name
        .trim_start_matches(|letter: char| letter.is_ascii_alphabetic())
        .split('.')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    let denied: Vec<&str> = DENIED.into_iter().chain(DISGUISED).collect();
    // A name that is asked for both families must be told the same lie twice, unless telling another each time is the lie.
    let turn = if name.ends_with("rebind.test") { usize::try_from(asked / 2).unwrap_or_default() } else { 0 };
    let bad = ip(denied[(number + turn) % denied.len()]);
    // Tokens: every other time no address of theirs is permitted.
    let mixed = name.ends_with("mixed.test") || name.ends_with("token.test") && asked % 2 == 1;
    match (mixed, asked % 4) {
        (true, 0 | 2) => Told::Addresses(vec![ip(PUBLIC), ip(PUBLIC_V6), bad]),
        (true, _) => Told::Addresses(vec![bad, ip(PUBLIC), ip(PUBLIC_V6)]),
        (false, 0 | 2) => Told::Addresses(vec![bad]),
        (false, 1) => Told::Addresses(vec![ip(PUBLIC)]),
        (false, _) => Told::Addresses(vec![ip(PUBLIC_V6)]),
    }
}
