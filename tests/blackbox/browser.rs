//! T11: pages in a real browser on this machine, against the port for events.
//!
//! Tokens are switched off, so that nothing protects the port but what it makes of browsers. The same page attacks a server
//! beside it that refuses nothing: only what arrives there counts as an attack that was really made.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::bed::{Bed, Context, Report};
use crate::disk::has_tool;
use crate::http as verbs;

/// Every way that a page has to send something, under every name that leads to this machine.
const PAGE: &str = r#"<!doctype html><title>a page</title><body><script>
const ports = [DAEMON, CONTROL];
const names = ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "rebind.test"];
const json = (way) => JSON.stringify({scanRef: way});
const quiet = (promise) => promise.then(() => {}, () => {});
const late = (ms) => new Promise((done) => setTimeout(done, ms));
async function attack(url) {
  const to = (way) => url + "?" + way;
  const post = (way, type, more) => quiet(fetch(to(way), {method: "POST", body: json(way), headers: {"Content-Type": type}, ...more}));
  const xhr = (way, type) => new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("POST", to(way)); request.withCredentials = true;
    request.setRequestHeader("Content-Type", type);
    request.onloadend = done; request.send(json(way));
  });
  const form = (way, enctype) => {
    const frame = document.createElement("iframe"); frame.name = way + url;
    const form = document.createElement("form"); const field = document.createElement("input");
    form.method = "POST"; form.action = to(way); form.enctype = enctype; form.target = frame.name;
    field.name = '{"scanRef":"' + way + '","a":"'; field.value = '"}';
    form.append(field); document.body.append(frame, form); form.submit();
  };
  form("form-text", "text/plain"); form("form-urlencoded", "application/x-www-form-urlencoded"); form("form-multipart", "multipart/form-data");
  navigator.sendBeacon(to("beacon-text"), json("beacon-text"));
  try { navigator.sendBeacon(to("beacon-json"), new Blob([json("beacon-json")], {type: "application/json"})); } catch (error) {}
  const image = new Image(); image.src = to("image");
  const script = document.createElement("script"); script.src = to("script"); document.body.append(script);
  try { new WebSocket(url.replace("http", "ws") + "?socket"); } catch (error) {}
  await Promise.race([late(8000), Promise.all([
    post("simple", "text/plain", {mode: "no-cors"}), post("simple-form", "application/x-www-form-urlencoded", {mode: "no-cors"}),
    post("keepalive", "text/plain", {mode: "no-cors", keepalive: true}), post("preflighted", "application/json", {}),
    post("preflighted-ndjson", "application/x-ndjson", {}), post("cloudevents", "application/cloudevents+json", {}),
    quiet(fetch(to("token"), {method: "POST", body: json("token"), headers: {"Content-Type": "application/json", Authorization: "Bearer x"}})),
    quiet(fetch(to("put"), {method: "PUT", body: json("put")})), quiet(fetch(to("get"), {mode: "no-cors"})),
    quiet(fetch(to("no-type"), {method: "POST", mode: "no-cors", body: new Blob([json("no-type")])})),
    xhr("xhr", "text/plain"), xhr("xhr-json", "application/json"),
  ])]);
}
(async () => {
  const all = [];
  for (const port of ports) for (const name of names) all.push(attack(`http://${name}:${port}/v1/events/AML_MONITORING`));
  await Promise.all(all); await late(500);
  await fetch("/done");
})();
</script>"#;

/// What came to the server that refuses nothing, and whether the page is through.
#[derive(Default)]
struct Seen {
    ways: Mutex<BTreeMap<String, u32>>,
    done: Mutex<bool>,
}

/// Answers everything with what lets a browser go on, and counts the ways of those who send something.
async fn permissive(
    request: Request<Incoming>,
    seen: Arc<Seen>,
    page: Arc<String>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let way = format!("{} to {name}", head.uri.query().unwrap_or_default());
    drop(body.collect().await);
    if head.uri.path() == "/done" {
        *seen.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
    } else if head.uri.path().starts_with("/v1/") && head.method != "OPTIONS" {
        *seen.ways.lock().unwrap_or_else(PoisonError::into_inner).entry(way).or_default() += 1;
    }
    let response = Response::builder()
        .header("content-type", "text/html")
        .header("access-control-allow-origin", "*")
        .header("access-control-allow-headers", "content-type, authorization")
        .header("access-control-allow-methods", "*")
        .header("access-control-allow-private-network", "true");
    let page = if head.uri.path() == "/" { page.as_str() } else { "" };
    Ok(response.body(Full::new(Bytes::from(page.to_owned()))).unwrap_or_default())
}

async fn serve(listener: TcpListener, seen: Arc<Seen>, page: Arc<String>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, page) = (Arc::clone(&seen), Arc::clone(&page));
        connections.spawn(async move {
            let service = service_fn(move |request| permissive(request, Arc::clone(&seen), Arc::clone(&page)));
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// Killed with all its helpers when dropped.
struct Browser(Child);

impl Browser {
    fn open(context: &Context, url: &str) -> anyhow::Result<Self> {
        let mut command = Command::new("chromium");
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--no-proxy-server"])
            .arg("--host-resolver-rules=MAP rebind.test 127.0.0.1")
            .arg(format!("--user-data-dir={}", context.work.join("profile").display()))
            .arg(url)
            .env("HOME", &context.work)
            .env("TMPDIR", &context.work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self(command.spawn().context("chromium")?))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) async fn browser_pages(context: Context) -> anyhow::Result<Report> {
    if !has_tool("chromium") {
        return Ok(Report::Skipped("needs chromium".to_owned()));
    }
    let bed = Bed::plain(&context).await?;
    let text = std::fs::read_to_string(&bed.site.config)?.replace("[ingest]\n", "[ingest]\nauth = \"none\"\n");
    std::fs::write(&bed.site.config, text)?;
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    // Also over IPv6 for the server that refuses nothing; the daemon listens on one address.
    let control = TcpListener::bind("[::]:0").await?;
    let control_port = control.local_addr()?.port();
    let page = PAGE.replace("DAEMON", &target.address.port().to_string()).replace("CONTROL", &control_port.to_string());
    let (seen, page) = (Arc::new(Seen::default()), Arc::new(page));
    let mut server = JoinSet::new();
    server.spawn(serve(control, Arc::clone(&seen), page));
    let mut attacks = BTreeMap::new();
    // As a page of this machine, and of a name that was bound to it afterwards.
    for origin in ["localhost", "rebind.test"] {
        *seen.done.lock().unwrap_or_else(PoisonError::into_inner) = false;
        let at: SocketAddr = ([127, 0, 0, 1], control_port).into();
        let browser = Browser::open(&context, &format!("http://{origin}:{}/", at.port()))?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !*seen.done.lock().unwrap_or_else(PoisonError::into_inner) {
            anyhow::ensure!(Instant::now() < deadline, "the page of {origin} did not get through");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(browser);
        attacks.append(&mut seen.ways.lock().unwrap_or_else(PoisonError::into_inner));
    }
    let needed =
        ["simple", "simple-form", "preflighted", "form-text", "beacon-text", "xhr", "token", "image", "keepalive"];
    for name in ["127.0.0.1", "localhost", "rebind.test", "[::1]"] {
        for way in needed {
            let way = format!("{way} to {name}");
            anyhow::ensure!(attacks.contains_key(&way), "the browser did not try {way:?}; it tried {attacks:?}");
        }
    }
    let status: Value = verbs::admin(&bed.site.socket, "GET", "/v1/status", None).await?.json()?;
    let count = |name: &str| status["ingest"][name].as_u64().unwrap_or_default();
    anyhow::ensure!(count("accepted") == 0, "{} events of a browser were stored", count("accepted"));
    anyhow::ensure!(count("refused") >= 20, "only {} requests of the browser came", count("refused"));
    // The port is not simply closed: whoever is no browser gets in, even without a token.
    let reply = verbs::Connection::tcp(target.address)
        .await?
        .send(target.request("honest", Bytes::from_static(b"{}"))?)
        .await?;
    anyhow::ensure!(reply.status == 202, "{}: {}", reply.status, reply.text());
    daemon.stop().await?;
    Ok(Report::Held(format!("ways={} stored=0 refused={}", attacks.len(), count("refused"))))
}
