//! T7: bodies that are made to confuse whoever reads them.
//!
//! Each is either refused with nothing stored, or delivered byte for byte; and none of them writes a line of its own into the
//! log.

use ::http::Request;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value;

use crate::bed::{Bed, Context, Report};
use crate::http::{self, Connection};
use crate::ledger::sha256;
use crate::poster::{Target, post_all};

/// What is JSON, however odd: taken as it is.
fn taken() -> Vec<Vec<u8>> {
    let nested =
        |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth)).into_bytes();
    let mut all: Vec<Vec<u8>> = [
        "{}",
        "[]",
        "null",
        "true",
        "1",
        "\"text\"",
        "-0",
        "{\"a\":1e400}",
        "-1E-400",
        "0.1e+1",
        "{\"a\":1,\"a\":2}",
        "{\"\":\"\"}",
        " {} ",
        "\t\r\n{}\r\n",
        "{\"scanRef\":\"a\\r\\nforged: line\"}",
        "{\"scanRef\":\"\\u001b[2J\"}",
        "{\"scanRef\":\"\\u202e\"}",
        "{\"scanRef\":null}",
        "{\"scanRef\":[1]}",
        "{\"scanRef\":{\"scanRef\":\"x\"}}",
        "{\"scanRef\":\"a\",\"scanRef\":\"b\"}",
        "{\"a\":\"\\ud83d\\ude00\"}",
        "{\"a\":\"\u{1f600}\"}",
        "{\"a\":\"\u{202e}\u{200b}\u{feff}\"}",
        "{\"a\":\"\u{7f}\u{85}\u{2028}\"}",
        "{\"a\":\"\\/\\b\\f\\u00e9\"}",
        "{\"__proto__\":{\"x\":1}}",
        "{\"constructor\":1}",
        "[[],{},[[]]]",
        "{\"a\":\"\\u0000\"}",
        "{\"$schema\":\"http://127.0.0.1/x\",\"$ref\":\"file:///etc/passwd\"}",
        "[1,1.0,1e0,100e-2]",
        "{\"a\":\"<!--<script>\"}",
        "{\"a\":\"=cmd|' /C calc'!A0\"}",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    all.push(format!("[{}]", "9".repeat(10_000)).into_bytes());
    all.push(format!("{{\"{}\":1}}", "k".repeat(100_000)).into_bytes());
    all.push(format!("{{\"scanRef\":\"{}\"}}", "r".repeat(100_000)).into_bytes());
    all.push(nested("[", "]", 64));
    all.push(nested("{\"a\":", "}", 64));
    all.push(b"{\"a\":\"\\ud800\",\"b\":\"\\udc00\\ud800\"}".to_vec());
    all.push(format!("[{}0]", "0,".repeat(200_000)).into_bytes());
    all.push(format!("\"{}\"", "x".repeat((1 << 20) - 2)).into_bytes());
    all
}

/// Almost JSON.
const NO_JSON: &[&str] = &[
    "",
    " ",
    "\n",
    "{",
    "}",
    "[",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "[1,]",
    "[,1]",
    "{a:1}",
    "{'a':1}",
    "{\"a\":1}x",
    "{}{}",
    "{} {}",
    "[1] // c",
    "/* c */ {}",
    "NaN",
    "Infinity",
    "-Infinity",
    "+1",
    ".5",
    "1.",
    "01",
    "0x10",
    "1e",
    "1e+",
    "--1",
    "tru",
    "nulll",
    "True",
    "\"",
    "\"\\\"",
    "\"\\x41\"",
    "\"\\u12\"",
    "\"\\u12G4\"",
    "{\"a\":\"\n\"}",
    "{\"a\":\"\u{1}\"}",
    "{\"a\":\"\u{0}\"}",
    "\u{0}{}",
    "{}\u{0}",
    "\u{feff}{}",
    "\u{b}{}",
    "\u{a0}{}",
    "{\"a\":1\u{0}}",
    "undefined",
    "{\"a\":undefined}",
    "\"a\" \"b\"",
    "1 2",
];

/// What is no JSON, or too deep, or too large.
fn refused() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = NO_JSON.iter().map(|text| text.as_bytes().to_vec()).collect();
    let broken: [&[u8]; 12] = [
        b"\"\xff\"",
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xe2\x82\"",
        b"\"\xf5\x80\x80\x80\"",
        b"\"\x80\"",
        b"{\"\xff\":1}",
        b"\xff\xfe{\x00}\x00",
        b"\xfe\xff\x00{\x00}",
        b"\xef\xbb\xbf[]",
        b"\"\xf0\x80\x80\xaf\"",
        b"\x1f\x8b\x08\x00",
    ];
    all.extend(broken.into_iter().map(<[u8]>::to_vec));
    for (open, depth) in [("[", 65), ("[", 100_000), ("{\"a\":", 65), ("{\"a\":", 100_000), ("[{\"a\":", 40_000)] {
        all.push(open.repeat(depth).into_bytes());
    }
    // Whole, and one deeper than is taken.
    all.push(format!("{}1{}", "[".repeat(65), "]".repeat(65)).into_bytes());
    all.push(format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)).into_bytes());
    all.push(format!("\"{}\"", "x".repeat((1 << 20) - 1)).into_bytes());
    all
}

/// Envelopes and CloudEvents whose outside is hostile; each is refused.
fn envelopes() -> Vec<(&'static str, String)> {
    let kinds = ["application/json", "application/cloudevents+json"];
    let cases = [
        "{}",
        "[]",
        "null",
        "{\"type\":1}",
        "{\"type\":null,\"payload\":{}}",
        "{\"type\":\"\"}",
        "{\"type\":\"AML_MONITORING\\r\\nX: y\",\"payload\":{},\"specversion\":\"1.0\"}",
        "{\"type\":\"\\u001b[31m\",\"payload\":{}}",
        "{\"type\":\"../../etc\",\"payload\":{}}",
        "{\"type\":\"AML_MONITORING\\u0000\",\"payload\":{}}",
        "{\"type\":\"\u{ff21}ML_MONITORING\",\"payload\":{}}",
        "{\"type\":\"AML_MONITORING\",\"payload\":{},\"references\":\"x\"}",
        "{\"type\":\"AML_MONITORING\",\"payload\":{},\"references\":[1]}",
        "{\"type\":\"AML_MONITORING\",\"payload\":{},\"id\":7}",
        "{\"type\":\"AML_MONITORING\",\"type\":\"COMPANY_REVIEW\",\"payload\":{}}",
        "{\"specversion\":\"9\",\"type\":\"AML_MONITORING\",\"source\":\"s\",\"id\":\"i\",\"data\":{}}",
        "{\"specversion\":\"1.0\",\"type\":\"AML_MONITORING\",\"id\":\"i\",\"data\":{}}",
        "{\"specversion\":\"1.0\",\"type\":\"AML_MONITORING\",\"source\":\"\",\"id\":\"\",\"data\":{}}",
    ];
    kinds.into_iter().flat_map(|kind| cases.into_iter().map(move |text| (kind, text.to_owned()))).collect()
}

async fn post(target: &Target, path: &str, kind: &str, body: Vec<u8>) -> anyhow::Result<u16> {
    let request = Request::builder()
        .method("POST")
        .uri(path)
        .header("host", target.address.to_string())
        .header("authorization", format!("Bearer {}", target.token))
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body)))?;
    // A connection of its own: what one does to the connection is not another's fault.
    Ok(Connection::tcp(target.address).await?.send(request).await?.status)
}

pub(crate) async fn hostile_bodies(context: Context) -> anyhow::Result<Report> {
    let mut bed = Bed::plain(&context).await?;
    let text =
        std::fs::read_to_string(&bed.site.config)?.replace("format = \"text\"", "format = \"json\"\nlevel = \"debug\"");
    std::fs::write(&bed.site.config, text.replace("schema = \"off\"", "schema = \"warn\""))?;
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    bed.site.create_webhook("now", &bed.receiver.url("/now")).await?;
    let (good, bad, envelopes) = (taken(), refused(), envelopes());
    let show = |body: &[u8]| String::from_utf8_lossy(&body[..body.len().min(80)]).escape_debug().to_string();
    let mut wrong = Vec::new();
    for body in &good {
        let status = post(&target, "/v1/events/AML_MONITORING", "application/json", body.clone()).await?;
        if status != 202 {
            wrong.push(format!("{} is JSON and got {status}", show(body)));
        }
    }
    for body in &bad {
        let status = post(&target, "/v1/events/AML_MONITORING", "application/json", body.clone()).await?;
        if !matches!(status, 400 | 411 | 413) {
            wrong.push(format!("{} got {status}", show(body)));
        }
    }
    for (kind, body) in &envelopes {
        let status = post(&target, "/v1/events", kind, body.clone().into_bytes()).await?;
        if !matches!(status, 400 | 422) {
            wrong.push(format!("{kind} {} got {status}", show(body.as_bytes())));
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{} bodies:\n  {}", wrong.len(), wrong.join("\n  "));
    daemon.wait_for(Duration::from_secs(20), "done", |status| status["pending"] == 0).await?;
    let status: Value = http::admin(&bed.site.socket, "GET", "/v1/status", None).await?.json()?;
    anyhow::ensure!(status["ingest"]["accepted"] == good.len(), "stored: {}", status["ingest"]["accepted"]);
    let mut expected: Vec<_> = good.iter().map(|body| sha256(body)).collect();
    let mut received: Vec<_> = bed.receiver.receipts().into_iter().map(|receipt| receipt.body).collect();
    expected.sort_unstable();
    received.sort_unstable();
    anyhow::ensure!(
        received == expected,
        "{} bodies came, not the {} that were posted",
        received.len(),
        expected.len()
    );
    post_all(&target, &bed.ledger, &mut bed.rng, 3).await.context("an honest post after all of them")?;
    daemon.stop().await?;
    let lines = check_log(&bed)?;
    Ok(Report::Held(format!(
        "taken={} refused={} delivered_other_than_posted=0 log_lines={lines} forged=0",
        good.len(),
        bad.len() + envelopes.len()
    )))
}

/// Every line of the log is the daemon's: JSON, with a time and a level, and nothing that steers a terminal.
fn check_log(bed: &Bed) -> anyhow::Result<usize> {
    let log = std::fs::read_to_string(&bed.site.log).context("the log is UTF-8")?;
    let mut count = 0;
    let begin = log.lines().position(|line| line.starts_with('{')).context("there is no log")?;
    // The welcome of the start is between the first lines; it is the only thing that is not JSON.
    let welcome = log.lines().position(|line| line.ends_with("# the terminal UI")).context("there is no welcome")?;
    for (number, line) in log.lines().enumerate().skip(begin) {
        if number <= welcome && !line.starts_with('{') {
            continue;
        }
        let entry: Value = serde_json::from_str(line).with_context(|| format!("a line of the log: {line}"))?;
        let of_ours = entry["target"].as_str().is_some_and(|target| target.starts_with("postrider"));
        anyhow::ensure!(of_ours && entry["time"].is_string() && entry["level"].is_string(), "a forged line: {line}");
        anyhow::ensure!(!line.chars().any(|c| c.is_control()), "a control character in {line:?}");
        count += 1;
    }
    Ok(count)
}
