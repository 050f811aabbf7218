//! F28 to F30: strangers at the ingest port who take connections, descriptors and time, or send without end.
//!
//! Beside them an honest poster goes on; what it notices is what counts.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bed::{Bed, Context, Report};
use crate::disk::has_tool;
use crate::http::Connection;
use crate::memory;
use crate::poster::Target;

const STRANGERS: usize = 2_000;
/// A head may take 5 s, a body 10 s.
const CLOSED_WITHIN: Duration = Duration::from_secs(13);
const MEMORY_MAX: u64 = 32 << 20;
const THREADS_MAX: u64 = 64;
const HONEST_MAX: Duration = Duration::from_millis(250);

/// The sockets of both ends are this process's and the daemon's.
fn allow_descriptors(count: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    anyhow::ensure!(limit.maximum.is_none_or(|most| most >= count), "needs {count} descriptors");
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: limit.maximum })?;
    Ok(())
}

/// A post on a connection of its own, as a script makes it.
async fn honest(target: &Target, reference: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let body = Bytes::from(format!("{{\"scanRef\" :\"{reference}\"}}"));
    let mut connection = Connection::tcp(target.address).await?;
    let reply = connection.send(target.request(reference, body)?).await?;
    anyhow::ensure!(reply.status == 202, "{}: {}", reply.status, reply.text());
    Ok(began.elapsed())
}

pub(crate) async fn half_open_posters(context: Context) -> anyhow::Result<Report> {
    allow_descriptors(3 * STRANGERS as u64)?;
    let bed = Bed::plain(&context).await?;
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    for number in 0..50 {
        honest(&target, &format!("warm-{number}")).await?;
    }
    let warm = memory::forget_peak(daemon.pid())?;
    let half_head = b"POST /v1/events/AML_MONITORING HTTP/1.1\r\nHost: localh".to_vec();
    let token = &target.token;
    let half_body = format!(
        "POST /v1/events/AML_MONITORING HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 500000\r\n\r\n{{\"scanRef\""
    );
    let (mut strangers, mut times, mut threads) = (Vec::new(), Vec::new(), 0);
    for number in 0..STRANGERS {
        let mut stream = TcpStream::connect(target.address).await?;
        // One that lost its place already is closed, which is the point.
        let _ = stream.write_all(if number % 2 == 0 { &half_head } else { half_body.as_bytes() }).await;
        strangers.push(stream);
        if number % 20 == 19 {
            times.push(honest(&target, &format!("beside-{number}")).await?);
            threads = threads.max(memory::status(daemon.pid(), "Threads")?);
        }
    }
    let began = Instant::now();
    for number in 0..200 {
        times.push(honest(&target, &format!("among-{number}")).await?);
    }
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    let mut closed = 0;
    for stream in &mut strangers {
        let left = CLOSED_WITHIN.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
        let end = async { while stream.read(&mut [0; 512]).await.is_ok_and(|read| read > 0) {} };
        closed += usize::from(tokio::time::timeout(left, end).await.is_ok());
    }
    let all_closed = began.elapsed();
    let grown = memory::peak(daemon.pid())?.saturating_sub(warm);
    anyhow::ensure!(closed == STRANGERS, "{closed} of {STRANGERS} were closed in time");
    anyhow::ensure!(p99 <= HONEST_MAX, "an honest poster waited {p99:?} (99 of 100)");
    anyhow::ensure!(grown <= MEMORY_MAX, "it grew by {} KiB", grown >> 10);
    anyhow::ensure!(threads <= THREADS_MAX, "{threads} threads");
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "strangers={STRANGERS} honest={} refused=0 p99={} ms grown={} KiB threads={threads} all_closed_after={} ms",
        times.len(),
        p99.as_millis(),
        grown >> 10,
        all_closed.as_millis()
    )))
}

pub(crate) async fn out_of_descriptors(context: Context) -> anyhow::Result<Report> {
    const LIMIT: usize = 128;
    const IDLE: usize = 500;
    if !has_tool("prlimit") {
        return Ok(Report::Skipped("needs prlimit".to_owned()));
    }
    allow_descriptors(2 * STRANGERS as u64)?;
    let bed = Bed::plain(&context).await?;
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    honest(&target, "before").await?;
    let (pid, limit) = (daemon.pid().to_string(), format!("--nofile={LIMIT}"));
    let limited = std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status()?;
    anyhow::ensure!(limited.success(), "prlimit: {limited}");
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        // The kernel takes some of them; whoever it leaves outside has to wait as well.
        if let Ok(stream) = tokio::time::timeout(Duration::from_millis(50), TcpStream::connect(target.address)).await {
            idle.push(stream?);
        }
    }
    let most = memory::descriptors(daemon.pid())?;
    anyhow::ensure!(most + 8 >= LIMIT, "only {most} descriptors were used");
    // Whoever is honest gets through even now: idle connections lose their places.
    let beside = tokio::time::timeout(Duration::from_secs(10), honest(&target, "beside")).await;
    let beside = beside.context("nobody honest got through")??;
    drop(idle);
    let began = Instant::now();
    while honest(&target, "after").await.is_err() {
        anyhow::ensure!(began.elapsed() < Duration::from_secs(2), "not accepting 2 s after all were gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let recovered = began.elapsed();
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "limit={LIMIT} idle={IDLE} used={most} beside={} ms recovered={} ms",
        beside.as_millis(),
        recovered.as_millis()
    )))
}

/// What is sent again and again, up to 256 MiB, until the daemon has had enough, and the codes it may answer; 0 is a closed connection.
struct Giant {
    name: &'static str,
    head: String,
    piece: &'static [u8],
    codes: &'static [u16],
}

const PIECES: usize = 4_096;

pub(crate) async fn giant_requests(context: Context) -> anyhow::Result<Report> {
    let bed = Bed::plain(&context).await?;
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    for number in 0..50 {
        honest(&target, &format!("warm-{number}")).await?;
    }
    let head = |more: &str| {
        format!(
            "POST /v1/events/AML_MONITORING HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n{more}",
            target.token
        )
    };
    const XS: &[u8] = &[b'x'; 65_536];
    let giants = [
        Giant { name: "one header", head: head("X: "), piece: XS, codes: &[431, 400] },
        Giant { name: "many headers", head: head(""), piece: b"X-A: b\r\nX-C: d\r\nX-E: f\r\n", codes: &[431, 400] },
        Giant { name: "request line", head: "POST /".to_owned(), piece: XS, codes: &[414, 431, 400] },
        Giant { name: "method", head: String::new(), piece: XS, codes: &[431, 400] },
        Giant { name: "newlines", head: String::new(), piece: b"\r\n\r\n\r\n\r\n", codes: &[431, 400, 0] },
        Giant { name: "10 GB announced", head: head("Content-Length: 10000000000\r\n\r\n"), piece: XS, codes: &[413] },
        Giant {
            name: "chunks",
            head: head("Transfer-Encoding: chunked\r\n\r\n"),
            piece: b"8\r\nxxxxxxxx\r\n",
            codes: &[413],
        },
        Giant {
            name: "large chunk",
            head: head("Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"),
            piece: XS,
            codes: &[413],
        },
        Giant {
            name: "chunk extension",
            head: head("Transfer-Encoding: chunked\r\n\r\n1;"),
            piece: XS,
            codes: &[413, 400, 0],
        },
        Giant {
            name: "trailers",
            head: head("Transfer-Encoding: chunked\r\n\r\n0\r\n"),
            piece: b"X-A: b\r\n",
            codes: &[413, 400, 0],
        },
    ];
    let warm = memory::forget_peak(daemon.pid())?;
    let mut told = Vec::new();
    for giant in &giants {
        let code = send(target.address, giant).await.with_context(|| giant.name.to_owned())?;
        anyhow::ensure!(giant.codes.contains(&code), "{}: {code}", giant.name);
        told.push(code);
    }
    let grown = memory::peak(daemon.pid())?.saturating_sub(warm);
    anyhow::ensure!(grown <= 8 << 20, "it grew by {} KiB", grown >> 10);
    honest(&target, "after").await?;
    daemon.stop().await?;
    Ok(Report::Held(format!("requests={} answers={told:?} grown={} KiB", giants.len(), grown >> 10)))
}

/// F30, T10. Envelopes of almost a megabyte around payloads of a few bytes: what is kept of them is the payloads.
pub(crate) async fn much_around_little(context: Context) -> anyhow::Result<Report> {
    const POSTS: usize = 150;
    const BATCHES: usize = 20;
    let bed = Bed::plain(&context).await?;
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    for number in 0..50 {
        honest(&target, &format!("warm-{number}")).await?;
    }
    let padding = " ".repeat(1_000_000);
    let attributes = "\"specversion\":\"1.0\",\"source\":\"s\",\"type\":\"AML_MONITORING\"";
    let post = |path: &'static str, kind: &'static str, body: String| {
        let target = &target;
        async move {
            let request = ::http::Request::builder()
                .method("POST")
                .uri(path)
                .header("host", target.address.to_string())
                .header("authorization", format!("Bearer {}", target.token))
                .header("content-type", kind)
                .body(http_body_util::Full::new(Bytes::from(body)))?;
            let reply = Connection::tcp(target.address).await?.send(request).await?;
            anyhow::ensure!((200..300).contains(&reply.status), "{kind}: {} {}", reply.status, reply.text());
            anyhow::Ok(())
        }
    };
    let warm = memory::forget_peak(daemon.pid())?;
    for number in 0..POSTS {
        let envelope = format!("{{\"type\":\"AML_MONITORING\",{padding}\"payload\":{{\"n\":{number}}}}}");
        post("/v1/events", "application/json", envelope).await?;
        let event = format!("{{{attributes},\"id\":\"{number}\",{padding}\"data\":{{\"n\":{number}}}}}");
        post("/v1/events", "application/cloudevents+json", event).await?;
    }
    for number in 0..BATCHES {
        let line = format!("{{\"type\":\"AML_MONITORING\",\"payload\":{{\"n\":{number}}}}}\n{}\n", padding.repeat(4));
        post("/v1/events/batch", "application/x-ndjson", line).await?;
        let list = format!("[{padding}{{{attributes},\"id\":\"b{number}\",\"data\":{{\"n\":{number}}}}}{padding}]");
        post("/v1/events/batch", "application/cloudevents-batch+json", list).await?;
    }
    let grown = memory::peak(daemon.pid())?.saturating_sub(warm);
    anyhow::ensure!(grown <= 40 << 20, "it grew by {} MiB", grown >> 20);
    daemon.stop().await?;
    let events = 2 * (POSTS + BATCHES);
    Ok(Report::Held(format!("events={events} padding={} MB grown={} KiB", 2 * POSTS + 6 * BATCHES, grown >> 10)))
}

/// Writes as long as it is taken, and then reads what was answered: an answer that a reset destroys is no answer.
async fn send(address: SocketAddr, giant: &Giant) -> anyhow::Result<u16> {
    let stream = TcpStream::connect(address).await?;
    let (mut reader, mut writer) = stream.into_split();
    let (first, piece) = (giant.head.clone(), giant.piece.repeat((64 << 10) / giant.piece.len()));
    let writing = tokio::spawn(async move {
        writer.write_all(first.as_bytes()).await?;
        for _ in 0..PIECES {
            writer.write_all(&piece).await?;
        }
        Ok::<_, std::io::Error>(writer)
    });
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = reader.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.context("no answer and no end")?;
    writing.abort();
    let text = String::from_utf8_lossy(&answer);
    Ok(text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0))
}
