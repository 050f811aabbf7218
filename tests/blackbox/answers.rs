//! F16 to F19: receivers that answer with whatever a socket can carry, all at once.
//!
//! Each shape has a webhook of its own without retries, so that one delivery tells what was made of it. The daemon may
//! take neither longer than its limit nor more memory than a few buffers, whatever comes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::bed::{Bed, Context, Report};
use crate::daemon::Settings;
use crate::http;
use crate::memory;
use crate::poster::post_all;

/// What a shape makes of a connection, in this order.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Waits for the whole request.
    Read,
    Write(&'static [u8]),
    /// Writes this again and again, for as long as anybody takes it.
    Endless(&'static [u8]),
    /// A byte every 50 ms, over and over.
    Drip(&'static [u8]),
    /// Closes with a reset.
    Reset,
    /// Keeps the connection open and says nothing.
    Hold,
}
use Act::{Drip, Endless, Hold, Read, Reset, Write};

/// What may come of it: these codes, of which 0 is no response.
struct Shape {
    name: &'static str,
    acts: &'static [Act],
    codes: &'static [u16],
}

const fn shape(name: &'static str, acts: &'static [Act], codes: &'static [u16]) -> Shape {
    Shape { name, acts, codes }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LONG: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n";
const ZEROS: &[u8] = &[0; 65_536];

const SHAPES: &[Shape] = &[
    shape("never-reads", &[Hold], &[0]),
    shape("never-answers", &[Read, Hold], &[0]),
    shape("closes-at-once", &[], &[0]),
    shape("closes-after-the-request", &[Read], &[0]),
    shape("resets-at-once", &[Reset], &[0]),
    shape("resets-after-the-request", &[Read, Reset], &[0]),
    shape("resets-in-the-head", &[Read, Write(b"HTTP/1.1 200 OK\r\nX-A"), Reset], &[0]),
    shape("resets-in-the-body", &[Read, Write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"), Reset], &[0, 200]),
    shape("closes-in-the-head", &[Read, Write(b"HTTP/1.1 200 OK\r\n")], &[0]),
    shape("closes-in-the-body", &[Read, Write(b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nab")], &[500]),
    shape("drips-the-status", &[Read, Drip(b"HTTP/1.1 200 OK ")], &[0]),
    shape("drips-headers", &[Read, Write(b"HTTP/1.1 200 OK\r\n"), Drip(b"X-A: b\r\n")], &[0]),
    shape("drips-the-body", &[Read, Write(LONG), Drip(b"x")], &[200]),
    shape(
        "drips-chunks",
        &[Read, Write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Drip(b"1\r\nx\r\n")],
        &[200],
    ),
    shape("drips-from-the-start", &[Drip(b"HTTP/1.1 102 Processing\r\n\r\n")], &[0]),
    shape("endless-body", &[Read, Write(b"HTTP/1.1 200 OK\r\n\r\n"), Endless(ZEROS)], &[200]),
    shape("ten-gigabytes", &[Read, Write(LONG), Endless(ZEROS)], &[200]),
    shape(
        "ten-gigabytes-of-500",
        &[Read, Write(b"HTTP/1.1 500 No\r\nContent-Length: 10000000000\r\n\r\n"), Endless(ZEROS)],
        &[500],
    ),
    shape(
        "endless-chunks",
        &[Read, Write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Endless(b"8\r\nxxxxxxxx\r\n")],
        &[200],
    ),
    shape(
        "endless-trailers",
        &[Read, Write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"), Endless(b"X-A: b\r\n")],
        &[0, 200],
    ),
    shape(
        "endless-chunk-extension",
        &[Read, Write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"), Endless(b"xxxxxxxx")],
        &[0, 200],
    ),
    shape(
        "gzip-bomb",
        &[
            Read,
            Write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03"),
            Endless(ZEROS),
        ],
        &[200],
    ),
    shape(
        "chained-bomb",
        &[
            Read,
            Write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, br, zstd, gzip\r\n\r\n\x1f\x8b\x08"),
            Endless(ZEROS),
        ],
        &[200],
    ),
    shape(
        "a-million-headers",
        &[Read, Write(b"HTTP/1.1 200 OK\r\n"), Endless(b"A: b\r\nC: d\r\nE: f\r\nG: h\r\n")],
        &[0],
    ),
    shape("one-endless-header", &[Read, Write(b"HTTP/1.1 200 OK\r\nX: "), Endless(b"xxxxxxxxxxxxxxxx")], &[0]),
    shape("endless-reason", &[Read, Write(b"HTTP/1.1 200 "), Endless(b"OKOKOKOK")], &[0]),
    shape("endless-digits", &[Read, Write(b"HTTP/1.1 "), Endless(b"2000000000")], &[0]),
    shape("endless-newlines", &[Read, Endless(b"\r\n")], &[0]),
    shape("endless-continue", &[Read, Endless(b"HTTP/1.1 100 Continue\r\n\r\n")], &[0]),
    shape("endless-hints", &[Read, Endless(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")], &[0]),
    shape("hints-and-then-ok", &[Read, Write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), Write(OK)], &[0, 200]),
    shape(
        "switches-protocols",
        &[Read, Write(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"), Endless(ZEROS)],
        &[0, 101],
    ),
    shape("answers-before-it-reads", &[Write(OK), Hold], &[0, 200]),
    shape("two-answers", &[Read, Write(OK), Write(OK), Endless(OK)], &[200]),
    shape("bad-chunk-size", &[Read, Write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")], &[0, 200]),
    shape(
        "huge-chunk-size",
        &[Read, Write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n")],
        &[0, 200],
    ),
    shape("two-lengths", &[Read, Write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")], &[0]),
    shape("negative-length", &[Read, Write(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")], &[0]),
    shape(
        "length-and-chunks",
        &[Read, Write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")],
        &[0, 200],
    ),
    shape("no-content-with-content", &[Read, Write(b"HTTP/1.1 204 No\r\n\r\n"), Endless(ZEROS)], &[204]),
    shape("http-0.9", &[Read, Write(b"<html>hello</html>\n")], &[0]),
    shape("http-2", &[Read, Write(b"\0\0\x12\x04\0\0\0\0\0"), Hold], &[0]),
    shape("http-9.9", &[Read, Write(b"HTTP/9.9 200 OK\r\n\r\n")], &[0]),
    shape("tls-alert", &[Read, Write(b"\x15\x03\x03\0\x02\x02\x28")], &[0]),
    shape("random-bytes", &[Read, Write(b"\xff\xfe\x1b]0;x\x07\0\0\r\n\r\n")], &[0]),
    shape("status-99", &[Read, Write(b"HTTP/1.1 099 Low\r\n\r\n")], &[0]),
    shape("status-999", &[Read, Write(b"HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n")], &[0, 999]),
    shape("status-of-four", &[Read, Write(b"HTTP/1.1 2000 OK\r\n\r\n")], &[0]),
    shape("no-status", &[Read, Write(b"HTTP/1.1\r\n\r\n")], &[0]),
    shape(
        "escapes-in-the-reason",
        &[Read, Write(b"HTTP/1.1 500 \x1b]52;c;eA==\x07\r\nContent-Length: 0\r\n\r\n")],
        &[0, 500],
    ),
    shape("nul-in-a-header", &[Read, Write(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n")], &[0]),
    shape("header-without-colon", &[Read, Write(b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n")], &[0]),
    shape("folded-header", &[Read, Write(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n")], &[0, 200]),
    shape("bare-newlines", &[Read, Write(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n")], &[0, 200]),
];

/// Of the daemon, over its warm state.
const MEMORY_MAX: u64 = 8 << 20;
const TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) async fn hostile_answers(context: Context) -> anyhow::Result<Report> {
    let settings = Settings { timeout_seconds: TIMEOUT.as_secs(), ..Settings::default() };
    let mut bed = Bed::new(&context, context.work.join("state"), settings).await?;
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    let mut server = JoinSet::new();
    for shape in SHAPES {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        create(&bed, shape.name, listener.local_addr()?).await?;
        server.spawn(serve(listener, shape.acts));
    }
    // Every page and buffer that an ordinary delivery needs is there before memory is counted.
    let first = Instant::now();
    post_all(&target, &bed.ledger, &mut bed.rng, 2).await?;
    ended(&bed, 2).await?;
    let warm = memory::forget_peak(daemon.pid())?;
    let began = Instant::now();
    post_all(&target, &bed.ledger, &mut bed.rng, 2).await?;
    let deliveries = ended(&bed, 4).await?;
    let took = began.elapsed();
    let grown = memory::peak(daemon.pid())?.saturating_sub(warm);
    anyhow::ensure!(grown <= MEMORY_MAX, "it grew by {} KiB", grown >> 10);
    let mut slowest: f64 = 0.0;
    for delivery in &deliveries {
        let id = delivery["id"].as_str().context("a delivery without id")?;
        let shown = http::admin(&bed.site.socket, "GET", &format!("/v1/deliveries/{id}"), None).await?.json()?;
        let shape = SHAPES.iter().find(|shape| delivery["webhook_name"] == shape.name).context("whose is it?")?;
        let attempt = &shown["attempts"][0];
        let code = attempt["code"].as_u64().context("no code")?;
        anyhow::ensure!(shape.codes.iter().any(|one| u64::from(*one) == code), "{}: {attempt}", shape.name);
        anyhow::ensure!(code > 0 || attempt["error"].is_string(), "{}: no reason: {attempt}", shape.name);
        slowest = f64::max(slowest, attempt["duration_ms"].as_f64().with_context(|| format!("no duration: {shown}"))?);
    }
    // On a machine that does other things as well.
    let limit = TIMEOUT + Duration::from_secs(1);
    anyhow::ensure!(slowest <= limit.as_secs_f64() * 1000.0, "an attempt took {slowest:.0} ms");
    let log = std::fs::read_to_string(&bed.site.log)?;
    anyhow::ensure!(!log.contains("panicked"), "a panic");
    anyhow::ensure!(first.elapsed() < Duration::from_secs(60), "places were not given back");
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "shapes={} at_once={} grown={} KiB slowest_attempt={slowest:.0} ms all_after={} ms panics=0",
        SHAPES.len(),
        2 * SHAPES.len(),
        grown >> 10,
        took.as_millis()
    )))
}

async fn create(bed: &Bed, name: &str, address: SocketAddr) -> anyhow::Result<()> {
    let fields = json!({"name": name, "url": format!("http://{address}/"), "event_types": ["*"], "max_in_flight": 8,
        "retry": {"count": 0, "interval_seconds": 60}});
    let reply = http::admin(&bed.site.socket, "POST", "/v1/webhooks", Some(&fields.to_string())).await?;
    anyhow::ensure!(reply.status == 201, "{name}: {}", reply.text());
    Ok(())
}

/// Waits until every webhook has had so many deliveries, and all are over.
async fn ended(bed: &Bed, each: usize) -> anyhow::Result<Vec<Value>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut found = Vec::new();
        for state in ["delivered", "failed"] {
            let path = format!("/v1/deliveries?state={state}&limit=500");
            let page = http::admin(&bed.site.socket, "GET", &path, None).await?.json()?;
            found.extend(page["items"].as_array().context("no items")?.iter().cloned());
        }
        if found.len() == each * SHAPES.len() {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < deadline, "{} of {} are over", found.len(), each * SHAPES.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn serve(listener: TcpListener, acts: &'static [Act]) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, acts));
    }
}

/// Ends when the daemon does not listen any more; what goes wrong is what is wanted.
async fn converse(mut stream: TcpStream, acts: &'static [Act]) {
    for act in acts {
        let done = match act {
            Read => read_request(&mut stream).await,
            Write(bytes) => stream.write_all(bytes).await,
            Endless(bytes) => loop {
                if let Err(error) = stream.write_all(bytes).await {
                    break Err(error);
                }
            },
            Drip(bytes) => drip(&mut stream, bytes).await,
            Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
            Hold => stream.read_to_end(&mut Vec::new()).await.map(drop),
        };
        if done.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

async fn drip(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        for byte in bytes {
            stream.write_all(&[*byte]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        let read = stream.read(&mut buffer).await?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if read == 0 || body.len() >= length.unwrap_or(0) {
            return Ok(());
        }
    }
}
