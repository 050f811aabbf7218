//! F31: requests that two servers could read in two ways, or that are no requests at all.
//!
//! Shapes that must be refused hide a second, complete post, with the right token, where a server that loses count would find it.
//! The others may be taken for the one request that they are. A hidden post must never become an event.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bed::{Bed, Context, Report};
use crate::http;
use crate::ledger::sha256;
use crate::poster::{EVENT_TYPE, Target, post_all};

/// What a strict reader does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strict {
    /// It is refused, or the connection is closed without a word.
    Refuses,
    /// One event, the outer one.
    Takes,
    /// It may do either.
    May,
}

struct Shape {
    what: String,
    bytes: Vec<u8>,
    strict: Strict,
    /// A second post lies behind it.
    hides: bool,
}

const OUTER: &str = "{ \"scanRef\" :\"outer\" }";

struct Maker {
    shapes: Vec<Shape>,
    token: String,
}

impl Maker {
    fn line(&self) -> String {
        format!("POST /v1/events/{EVENT_TYPE} HTTP/1.1\r\n")
    }

    /// Everything that a post needs but its framing.
    fn head(&self) -> String {
        let token = &self.token;
        format!("{}Host: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n", self.line())
    }

    /// What is hidden behind a shape: behind one that may be taken a second post would be one in its own right.
    fn behind(&self, strict: Strict) -> String {
        if strict == Strict::Refuses { self.hidden() } else { String::new() }
    }

    /// A whole post of its own, to be hidden.
    fn hidden(&self) -> String {
        let body = format!("{{ \"scanRef\" :\"hidden-{}\" }}", self.shapes.len());
        format!("{}Content-Length: {}\r\n\r\n{body}", self.head(), body.len())
    }

    fn add(&mut self, strict: Strict, what: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let (what, mut bytes) = (what.into(), bytes.into());
        let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).position(|window| window == text.as_bytes());
        let hides = has(&bytes, "hidden-").is_some();
        // With nothing behind it the answer is the last one; elsewhere, asking for the end would help the server.
        if let (false, Some(at)) = (hides, has(&bytes, "Authorization: ")) {
            bytes.splice(at..at, b"Connection: close\r\n".to_owned());
        }
        self.shapes.push(Shape { what, bytes, strict, hides });
    }

    /// A post with this framing; what follows the head is a chunked body, and after it the hidden post.
    fn chunked(&mut self, strict: Strict, what: &str, framing: &str) {
        let body = format!("{:x}\r\n{OUTER}\r\n0\r\n\r\n", OUTER.len());
        // Beside a length, chunks end the connection: whoever goes on after them has misread one of the two.
        let ends = framing.contains("Content-Length");
        let behind = if ends { self.hidden() } else { self.behind(strict) };
        let bytes = format!("{}{framing}\r\n{body}{behind}", self.head());
        self.add(strict, what, bytes);
    }

    /// A post with this framing; what follows the head is the plain body, and after it the hidden post.
    fn plain(&mut self, strict: Strict, what: &str, framing: &str) {
        let bytes = format!("{}{framing}\r\n{OUTER}{}", self.head(), self.behind(strict));
        self.add(strict, what, bytes);
    }
}

/// Ways to write a transfer coding, alone and beside a length.
fn codings(maker: &mut Maker) {
    let odd = [
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "ch unked",
        "gzip, chunked",
        "chunked, gzip",
        "identity",
        "",
        "identity, chunked",
        "chunked, identity",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "\u{b}chunked",
        "chunked\u{b}",
        "chunked\u{0}",
        "\u{0}chunked",
        "chunk\u{e9}d",
        "deflate",
        "x",
        "chunked chunked",
        "=chunked",
        "chunked\u{7f}",
    ];
    let good = ["chunked", "Chunked", "CHUNKED", "cHuNkEd", " chunked", "chunked ", "\tchunked", "chunked\t"];
    for coding in good {
        maker.chunked(Strict::May, &format!("coding {coding:?}"), &format!("Transfer-Encoding:{coding}\r\n"));
    }
    for coding in odd {
        maker.chunked(Strict::Refuses, &format!("coding {coding:?}"), &format!("Transfer-Encoding: {coding}\r\n"));
    }
    for coding in good.into_iter().chain(odd) {
        // A length beside chunks: those who know both go by the chunks and close (RFC 9112, 6.3).
        let strict = if good.contains(&coding) { Strict::May } else { Strict::Refuses };
        for (what, framing) in [
            ("length before coding", format!("Content-Length: {}\r\nTransfer-Encoding: {coding}\r\n", OUTER.len())),
            ("coding before length", format!("Transfer-Encoding: {coding}\r\nContent-Length: 4\r\n")),
        ] {
            maker.chunked(strict, &format!("{what}, {coding:?}"), &framing);
        }
    }
    for (name, strict) in [
        ("Transfer-Encoding ", Strict::Refuses),
        ("Transfer-Encoding\t", Strict::Refuses),
        (" Transfer-Encoding", Strict::Refuses),
        ("Transfer\u{0}-Encoding", Strict::Refuses),
        ("Transfer Encoding", Strict::Refuses),
        ("X: y\nTransfer-Encoding", Strict::May),
        ("X: y\rTransfer-Encoding", Strict::Refuses),
        ("Transfer_Encoding", Strict::Refuses),
        ("Transfer-Encodin\u{e9}", Strict::Refuses),
    ] {
        maker.chunked(strict, &format!("name {name:?}"), &format!("{name}: chunked\r\n"));
        let length = format!("Content-Length: {}\r\n{name}: chunked\r\n", OUTER.len());
        // Two of them are plain headers of another name: then the length counts.
        let plain = if name.contains('_') { Strict::Takes } else { Strict::Refuses };
        maker.plain(plain, &format!("length and name {name:?}"), &length);
    }
    maker.chunked(Strict::Refuses, "two codings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n");
    maker.chunked(
        Strict::Refuses,
        "a coding and identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    );
    maker.chunked(Strict::Refuses, "folded coding", "Transfer-Encoding:\r\n chunked\r\n");
}

/// Ways to write a length.
fn lengths(maker: &mut Maker) {
    let length = OUTER.len();
    let refused = [
        format!("+{length}"),
        format!("-{length}"),
        format!("0x{length:x}"),
        format!("{length}.0"),
        format!("{length}abc"),
        format!("{length} {length}"),
        format!("{length}, {}", length + 1),
        format!("{length};"),
        format!("\"{length}\""),
        String::new(),
        "x".to_owned(),
        "99999999999999999999999".to_owned(),
        "18446744073709551616".to_owned(),
        "-0".to_owned(),
        "１".to_owned(),
        format!("{length}\u{0}"),
        format!("{length}\u{b}"),
        "1e1".to_owned(),
        format!("{length}_0"),
        format!("{length},"),
        format!(",{length}"),
    ];
    for value in refused {
        maker.plain(Strict::Refuses, &format!("length {value:?}"), &format!("Content-Length: {value}\r\n"));
    }
    for value in [format!("0{length}"), format!("000000000000000000000{length}"), format!("{length}, {length}")] {
        maker.plain(Strict::May, &format!("length {value:?}"), &format!("Content-Length: {value}\r\n"));
    }
    for value in [format!("{length}"), format!(" {length} "), format!("\t{length}\t")] {
        maker.plain(Strict::Takes, &format!("length {value:?}"), &format!("Content-Length:{value}\r\n"));
    }
    for (first, second) in [(length, length + 1), (length + 1, length), (0, length), (length, 0), (length, 4_000)] {
        let framing = format!("Content-Length: {first}\r\nContent-Length: {second}\r\n");
        maker.plain(Strict::Refuses, &format!("lengths {first} and {second}"), &framing);
        let mixed = format!("Content-Length: {first}\r\ncontent-length : {second}\r\n");
        maker.plain(Strict::Refuses, &format!("lengths {first} and, badly written, {second}"), &mixed);
    }
    maker.plain(
        Strict::May,
        "the same length twice",
        &format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
    );
    maker.plain(Strict::Refuses, "no length", "");
    maker.plain(Strict::Refuses, "length in a folded line", &format!("X: y\r\n Content-Length: {length}\r\n"));
    maker.plain(Strict::Refuses, "a space before the colon", &format!("Content-Length : {length}\r\n"));
    maker.plain(Strict::Refuses, "length 0 and a body", "Content-Length: 0\r\n");
}

/// Ways to write chunks.
fn chunks(maker: &mut Maker) {
    let size = format!("{:x}", OUTER.len());
    let cases = [
        (Strict::Takes, "upper case", format!("{}\r\n{OUTER}\r\n0\r\n\r\n", size.to_uppercase())),
        (Strict::May, "leading zeros", format!("000{size}\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::May, "an extension", format!("{size};a=b\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::May, "a quoted extension", format!("{size};a=\"b\"\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::May, "a space after", format!("{size} \r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::May, "trailers", format!("{size}\r\n{OUTER}\r\n0\r\nX: y\r\n\r\n")),
        (Strict::May, "framing in trailers", format!("{size}\r\n{OUTER}\r\n0\r\nContent-Length: 3\r\n\r\n")),
        (Strict::Refuses, "a space before", format!(" {size}\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "a sign", format!("+{size}\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "negative", format!("-{size}\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "hexadecimal prefix", format!("0x{size}\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "no size", format!("\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "no hexadecimal", format!("zz\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "overflow", format!("1000000000000000{size}\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "overflow to all", format!("ffffffffffffffff\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "too long data", format!("2\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "too short data", format!("ffff\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "no end of data", format!("{size}\r\n{OUTER}0\r\n\r\n")),
        (Strict::Refuses, "bare LF after the size", format!("{size}\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "bare LF after the data", format!("{size}\r\n{OUTER}\n0\r\n\r\n")),
        (Strict::Refuses, "bare CR after the size", format!("{size}\r{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "bare LF in an extension", format!("{size};a\nb\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "NUL in the size", format!("{size}\u{0}\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "an underscore", format!("1_{size}\r\n{OUTER}\r\n0\r\n\r\n")),
        (Strict::Refuses, "a bad trailer", format!("{size}\r\n{OUTER}\r\n0\r\nbad trailer\r\n\r\n")),
        (Strict::May, "a million zeros", format!("{}{size}\r\n{OUTER}\r\n0\r\n\r\n", "0".repeat(1_000_000))),
        (Strict::Refuses, "an endless extension", format!("{size};{}\r\n{OUTER}\r\n0\r\n\r\n", "a".repeat(1_000_000))),
    ];
    for (strict, what, body) in cases {
        let bytes = format!("{}Transfer-Encoding: chunked\r\n\r\n{body}{}", maker.head(), maker.behind(strict));
        maker.add(strict, format!("chunk: {what}"), bytes);
    }
}

/// Lines that are no header.
const BAD_HEADERS: &[&str] = &[
    "X:\u{0}y",
    "X: a\u{0}b",
    "X: a\rb",
    "X\u{1}: y",
    "X\u{7f}: y",
    "X\u{e9}: y",
    ": y",
    " : y",
    "X y",
    "X",
    "X\t: y",
    "X : y",
    "(X): y",
    "X@: y",
    "X[]: y",
    "\u{0}: y",
    "X: a\u{1}b",
    "X: a\u{7f}b",
    "\"X\": y",
    "X=y",
    "X: y\r\n\tfolded: z",
    "X/Y: z",
    "X,Y: z",
];

/// Request lines that no application writes.
const ODD_LINES: &[&str] = &[
    "POST  /v1/events/AML_MONITORING HTTP/1.1",
    "POST /v1/events/AML_MONITORING  HTTP/1.1",
    " POST /v1/events/AML_MONITORING HTTP/1.1",
    "POST\t/v1/events/AML_MONITORING\tHTTP/1.1",
    "POST /v1/events/AML_MONITORING HTTP/1.1 x",
    "POST /v1/events/AML_MONITORING",
    "POST /v1/events/AML_MONITORING HTTP/2.0",
    "POST /v1/events/AML_MONITORING HTTP/1.2",
    "POST /v1/events/AML_MONITORING HTTP/0.9",
    "POST /v1/events/AML_MONITORING http/1.1",
    "POST /v1/events/AML_MONITORING HTTP/1.1\u{0}",
    "POST /v1/events/AML_MONITORING HTTP/11",
    "POST /v1/events/AML\u{0}MONITORING HTTP/1.1",
    "POST /v1/events/AML MONITORING HTTP/1.1",
    "P\u{0}ST /v1/events/AML_MONITORING HTTP/1.1",
    "P ST /v1/events/AML_MONITORING HTTP/1.1",
    "POST HTTP/1.1",
];

/// Request lines that are HTTP and not for this port.
const OTHER_LINES: &[&str] = &[
    "GET /v1/events/AML_MONITORING HTTP/1.1",
    "post /v1/events/AML_MONITORING HTTP/1.1",
    "CONNECT localhost:80 HTTP/1.1",
    "CONNECT /v1/events/AML_MONITORING HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "TRACE /v1/events/AML_MONITORING HTTP/1.1",
    "POST * HTTP/1.1",
    "POST localhost HTTP/1.1",
    "POST http://evil.example/v1/events/AML_MONITORING HTTP/1.1",
    "POST \\v1\\events\\AML_MONITORING HTTP/1.1",
    "POST /v1/events/AML_MONITORING/../AML_MONITORING HTTP/1.1",
    "POST //v1/events/AML_MONITORING HTTP/1.1",
    "POST /v1/events/ HTTP/1.1",
];

/// Everything else about a head.
fn heads(maker: &mut Maker) {
    let length = format!("Content-Length: {}\r\n", OUTER.len());
    for header in BAD_HEADERS {
        maker.plain(Strict::Refuses, &format!("header {header:?}"), &format!("{header}\r\n{length}"));
    }
    let good = maker.head();
    let rest = format!("{length}\r\n{OUTER}");
    let line = maker.line();
    let headers = good.strip_prefix(&line).unwrap_or_default();
    for odd in ODD_LINES {
        let bytes = format!("{odd}\r\n{headers}{rest}{}", maker.hidden());
        maker.add(Strict::Refuses, format!("line {odd:?}"), bytes);
    }
    // These and what follows are framed well: a post behind them would be one in its own right.
    for other in OTHER_LINES {
        maker.add(Strict::Refuses, format!("line {other:?}"), format!("{other}\r\n{headers}{rest}"));
    }
    for (strict, what, host) in [
        (Strict::Refuses, "no host", ""),
        (Strict::Refuses, "two hosts", "Host: localhost\r\nHost: localhost\r\n"),
        (Strict::Refuses, "another host", "Host: evil.example\r\n"),
        (Strict::Refuses, "an empty host", "Host:\r\n"),
        (Strict::Refuses, "a host with a path", "Host: localhost/x\r\n"),
        (Strict::Refuses, "a host with a user", "Host: a@localhost\r\n"),
        (Strict::Refuses, "two hosts in one", "Host: localhost, evil.example\r\n"),
        (Strict::Refuses, "a host with a space", "Host: local host\r\n"),
    ] {
        maker.add(strict, what, format!("{}{rest}", good.replace("Host: localhost\r\n", host)));
    }
    for (strict, what, more) in [
        (Strict::May, "expect", "Expect: 100-continue\r\n"),
        (Strict::May, "odd expect", "Expect: 200-ok\r\n"),
        (Strict::May, "upgrade", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
        (
            Strict::May,
            "h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        ),
        (Strict::May, "connection names the length", "Connection: Content-Length\r\n"),
        (Strict::May, "close and keep-alive", "Connection: close, keep-alive\r\n"),
        (Strict::May, "method override", "X-HTTP-Method-Override: GET\r\n"),
        (Strict::Refuses, "a compressed body", "Content-Encoding: gzip\r\n"),
    ] {
        maker.add(strict, what, format!("{good}{more}{rest}"));
    }
}

/// Other protocols.
fn foreign(maker: &mut Maker) {
    // Which of them it came out of is told by its number, or by one of the next five.
    let hidden = maker.hidden();
    maker.add(Strict::Refuses, "HTTP/2 preface", format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{hidden}"));
    maker.add(
        Strict::Refuses,
        "TLS",
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 508], hidden.as_bytes()].concat(),
    );
    maker.add(Strict::Refuses, "nonsense", format!("\u{1}\u{2}\u{3}\r\n\r\n{hidden}"));
    maker.add(Strict::Refuses, "HTTP/0.9", format!("GET /\r\n{hidden}"));
    maker.add(Strict::Refuses, "a proxy's preface", format!("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n{hidden}"));
    maker.add(Strict::Refuses, "an answer", format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{hidden}"));
}

/// What is answered until the connection ends or nothing more comes; the shapes with a hidden post leave it open at most.
async fn converse(target: &Target, shape: &Shape) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(target.address).await?;
    // It may have closed by the time that all is written.
    let _ = stream.write_all(&shape.bytes).await;
    if shape.hides {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    reading.map_err(|_| anyhow::anyhow!("the connection is not ended")).map(drop)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A 4xx, or 505 for a version of HTTP that nobody speaks here; and nothing but such.
fn refuses(answer: &str) -> bool {
    let mut codes = answer.split("HTTP/1.").skip(1).filter_map(|rest| rest.get(2..5));
    codes.all(|code| code.starts_with('4') || code == "505")
}

/// Events accepted since the start.
async fn accepted(bed: &Bed) -> anyhow::Result<u64> {
    let status: Value = http::admin(&bed.site.socket, "GET", "/v1/status", None).await?.json()?;
    status["ingest"]["accepted"].as_u64().context("status tells how many events were accepted")
}

pub(crate) async fn smuggled_requests(context: Context) -> anyhow::Result<Report> {
    let mut bed = Bed::plain(&context).await?;
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    bed.site.create_webhook("now", &bed.receiver.url("/now")).await?;
    let mut maker = Maker { shapes: Vec::new(), token: target.token.clone() };
    for make in [codings, lengths, chunks, heads, foreign] {
        make(&mut maker);
    }
    let (mut taken, mut wrong) = (0, Vec::new());
    for shape in &maker.shapes {
        let before = accepted(&bed).await?;
        let answer = converse(&target, shape).await.with_context(|| shape.what.clone())?;
        let count = accepted(&bed).await? - before;
        taken += count;
        let fine = match shape.strict {
            Strict::Refuses => count == 0 && (answer.is_empty() || refuses(&answer)),
            Strict::Takes => count == 1,
            Strict::May => count <= 1,
        };
        if !fine {
            let first = answer.lines().next().unwrap_or_default();
            wrong.push(format!("{}: {count} events, {first:?}", shape.what));
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{} shapes were not read strictly:\n  {}", wrong.len(), wrong.join("\n  "));
    let references =
        post_all(&target, &bed.ledger, &mut bed.rng, 3).await.context("an honest post after all of them")?;
    daemon.wait_for(Duration::from_secs(20), "done", |status| status["pending"] == 0).await?;
    for receipt in bed.receiver.receipts() {
        if let Some(number) = receipt.reference.strip_prefix("hidden-") {
            let shape = number.parse().ok().and_then(|number: usize| maker.shapes.get(number));
            anyhow::bail!("the hidden post came out of {:?}", shape.map(|shape| &shape.what));
        }
        let outer = receipt.reference == "outer";
        anyhow::ensure!(!outer || receipt.body == sha256(OUTER.as_bytes()), "a body that nobody sent");
        let known = outer || references.contains(&receipt.reference);
        anyhow::ensure!(known, "an event {:?} came out of a shape", receipt.reference);
    }
    daemon.stop().await?;
    Ok(Report::Held(format!("shapes={} hidden_posts=0 outer_taken={taken}", maker.shapes.len())))
}
