//! `postrider listen`: shows what comes to a receiver of its own, whether it is signed right, and what it was answered.
//!
//! Receiving is `crate::listen`; this turns flags into its conduct and what it tells into lines.
//!
//! Invariant: nothing that a sender wrote is shown otherwise than printable and bounded.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::output::{Cell, Style};
use super::signals::Ends;
use super::{Ended, ExitCode, Failure, Session, input};
use crate::domain::secret::Secret;
use crate::domain::text::printable;
use crate::listen::{Act, Conduct, Reaction, Receiver, Seen, Setup, Share, Statuses, Told, Verdict};
use crate::random::Random;

const EXAMPLES: &str = "\
Examples:
  postrider listen --key-file key                   show and verify what comes to http://127.0.0.1:8080/
  postrider listen --status 200x9,503 --retry-after 5
  postrider listen --delay 12000                    later than a webhook's timeout
  postrider listen --reset 20% --port 9000
";

/// What is waiting to be shown; whoever sends more waits as well.
const WAITING_MAX: usize = 64;
/// Of a path, a header or a line of a body, in characters.
const TEXT_MAX: usize = 200;
/// Of a payload, for people.
const BODY_SHOWN_MAX: usize = 4 << 10;
/// Of a payload, in JSON.
const BODY_JSON_MAX: usize = 256 << 10;

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Port to listen on; 0 is any free one, which is told
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// Address to listen on; anything but loopback lets other machines in
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// File with the webhook's signing key, to verify signatures with; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    key_file: Option<PathBuf>,
    /// The signing key itself; others on this machine can see it, so only for keys that are made up
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What to answer, in turn: 503, or 200,503,503, or 200x9,503
    #[arg(long, value_name = "CODES", default_value = "200")]
    status: Statuses,
    /// Wait so many milliseconds before each answer
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=60_000))]
    delay: u64,
    /// Ask for so many seconds with 429 and 503
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
    /// Reset connections instead of answering: 20%, or 3 for every third
    #[arg(long, value_name = "SHARE")]
    reset: Option<Share>,
    /// Answer a byte at a time, five a second
    #[arg(long, conflicts_with = "endless_body")]
    slow_drip: bool,
    /// Answer with a body that does not end for a minute
    #[arg(long)]
    endless_body: bool,
    /// End after so many requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Show payloads
    #[arg(long)]
    body: bool,
}

impl Arguments {
    fn key(&self) -> Result<Option<Secret>, Failure> {
        match (&self.key_file, &self.key) {
            (Some(file), _) => input::secret(file).map(Some),
            (None, Some(key)) if key.is_empty() => Err(Failure::usage("--key is empty")),
            (None, key) => Ok(key.clone().map(Secret::new)),
        }
    }

    fn conduct(&self) -> Conduct {
        Conduct {
            statuses: self.status.clone(),
            delay: Duration::from_millis(self.delay),
            retry_after: self.retry_after,
            reset: self.reset.unwrap_or_default(),
            slow_drip: self.slow_drip,
            endless_body: self.endless_body,
        }
    }
}

pub(super) async fn run(session: &mut Session<'_>, arguments: Arguments) -> Ended {
    let mut ends = Ends::new()?;
    let address = SocketAddr::new(arguments.address, arguments.port);
    let setup = Setup { address, key: arguments.key()?, clock: session.clock, random: Random::Os };
    let conduct = arguments.conduct();
    let (tell, mut told) = mpsc::channel(WAITING_MAX);
    let receiver = Receiver::start(
        setup,
        Box::new(move |number, chance| conduct.reaction(number, chance)),
        // Nobody listens any more at the end.
        Arc::new(move |one| drop(tell.blocking_send(one))),
    );
    let receiver = receiver.map_err(|error| refused(address, &error))?;
    greet(session, receiver.address())?;
    let mut left = arguments.count;
    let ended = loop {
        let one = tokio::select! {
            () = ends.came() => break Ok(ExitCode::Done),
            one = told.recv() => one,
        };
        match show(session, one, arguments.body) {
            Ok(false) => {}
            Ok(true) => {
                left = left.map(|left| left - 1);
                if left == Some(0) {
                    break Ok(ExitCode::Done);
                }
            }
            Err(failure) => break Err(failure),
        }
    };
    // Before the receiver, which waits for its threads, and they may wait to be heard.
    drop(told);
    drop(receiver);
    ended
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::AddrInUse => ExitCode::TryAgain,
        io::ErrorKind::PermissionDenied => ExitCode::NotPermitted,
        _ => ExitCode::InputOutput,
    };
    Failure::new(exit, format!("{address} cannot be listened on: {error}")).advise("name another port with --port")
}

fn greet(session: &mut Session<'_>, address: SocketAddr) -> Result<(), Failure> {
    if session.output.json() {
        return session.output.object(&json!({"listening": address.to_string()}));
    }
    session.output.done(&format!("listening on http://{address}/; ^C ends it"))?;
    if !address.ip().is_loopback() {
        session.output.warn("other machines can reach this; it is a tool for trying things out");
    }
    Ok(())
}

/// Shows it; `true` when a request is over.
fn show(session: &mut Session<'_>, told: Option<Told>, body: bool) -> Result<bool, Failure> {
    match told {
        Some(Told::Request(seen, reaction)) if session.output.json() => {
            session.output.object(&object(&seen, reaction, body))?;
        }
        Some(Told::Request(seen, reaction)) => block(session, &seen, reaction, body)?,
        Some(Told::Answered { heard }) => {
            if !heard {
                session.output.note("a sender hung up before its answer");
            }
            return Ok(true);
        }
        Some(Told::Refused(status, why)) => {
            let at = session.clock.now().to_string();
            if session.output.json() {
                session.output.object(&json!({"at": at, "refused": status, "reason": why}))?;
            } else {
                let time = session.output.time_of_day(&at);
                session.output.line(&[format!("{time} refused with {status}: {why}").into()])?;
            }
        }
        Some(Told::Broken(why)) => {
            return Err(Failure::new(ExitCode::InputOutput, format!("no more requests can be received: {why}")));
        }
        None => return Err(Failure::new(ExitCode::Internal, "the receiver has ended")),
    }
    Ok(false)
}

/// What a request gets, in words.
fn words(reaction: Reaction) -> String {
    let asked =
        |retry_after: Option<u32>| retry_after.map_or(String::new(), |seconds| format!(", Retry-After {seconds}"));
    let act = match reaction.act {
        Act::Answer { status, retry_after } => format!("{status}{}", asked(retry_after)),
        Act::Drip { status, retry_after } => format!("{status}{}, byte by byte", asked(retry_after)),
        Act::Endless { status } => format!("{status} without an end"),
        Act::Reset => "reset".to_owned(),
    };
    if reaction.delay.is_zero() { act } else { format!("{act}, after {} ms", reaction.delay.as_millis()) }
}

fn bounded(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown: String = characters.by_ref().take(TEXT_MAX).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

fn verdict(name: &str, verdict: Verdict) -> Cell {
    let style = match verdict {
        Verdict::Good => Style::Good,
        Verdict::Wrong | Verdict::Stale => Style::Bad,
        Verdict::Unsigned | Verdict::Unchecked => Style::Dim,
    };
    Cell::styled(format!("{name} {}", verdict.words()), style)
}

/// A request for people: two lines, and the payload if it is wanted.
fn block(session: &mut Session<'_>, seen: &Seen, reaction: Reaction, body: bool) -> Result<(), Failure> {
    let time = session.output.time_of_day(&seen.at.to_string());
    let good = matches!(reaction.act, Act::Answer { status: 200..=299, .. });
    session.output.line(&[
        Cell::styled(format!("{time} "), Style::Dim),
        format!("{} {} -> ", bounded(&seen.method), bounded(&seen.path)).into(),
        Cell::styled(words(reaction), if good { Style::Good } else { Style::Bad }),
    ])?;
    let attempt = seen.attempt.as_ref().map(|attempt| format!("attempt {attempt}"));
    let test = seen.test.then(|| "test".to_owned());
    let size = Some(format!("{} bytes", seen.body.len()));
    let facts: Vec<String> =
        [seen.event_type.clone(), attempt, test, seen.webhook_id.clone(), size].into_iter().flatten().collect();
    let facts: Vec<String> = facts.iter().map(|fact| bounded(fact)).collect();
    session.output.line(&[
        format!("    {}; ", facts.join(", ")).into(),
        verdict("Idenfy-Signature", seen.body_signature),
        ", ".into(),
        verdict("webhook-signature", seen.standard_signature),
    ])?;
    if body { payload(session, &seen.body) } else { Ok(()) }
}

fn payload(session: &mut Session<'_>, body: &[u8]) -> Result<(), Failure> {
    let shown = &body[..body.len().min(BODY_SHOWN_MAX)];
    let mut text = String::new();
    for line in String::from_utf8_lossy(shown).lines() {
        text.push_str(&format!("    | {}\n", printable(&line.replace('\t', "    "))));
    }
    if shown.len() < body.len() {
        text.push_str(&format!("    | … {} more bytes\n", body.len() - shown.len()));
    }
    session.output.text(&text)
}

/// The same for programs.
fn object(seen: &Seen, reaction: Reaction, body: bool) -> Value {
    let (conduct, status, retry_after) = match reaction.act {
        Act::Answer { status, retry_after } => ("answer", Some(status), retry_after),
        Act::Drip { status, retry_after } => ("slow_drip", Some(status), retry_after),
        Act::Endless { status } => ("endless_body", Some(status), None),
        Act::Reset => ("reset", None, None),
    };
    let mut object = json!({
        "at": seen.at.to_string(),
        "number": seen.number + 1,
        "method": seen.method,
        "path": seen.path,
        "event_type": seen.event_type,
        "webhook_id": seen.webhook_id,
        "delivery_id": seen.delivery,
        "attempt": seen.attempt.as_deref().and_then(|attempt| attempt.parse::<u64>().ok()),
        "test": seen.test,
        "body_bytes": seen.body.len(),
        "idenfy_signature": seen.body_signature.as_str(),
        "webhook_signature": seen.standard_signature.as_str(),
        "conduct": conduct,
        "status": status,
        "retry_after": retry_after,
        "delay_ms": u64::try_from(reaction.delay.as_millis()).unwrap_or(u64::MAX),
    });
    if body {
        let shown = &seen.body[..seen.body.len().min(BODY_JSON_MAX)];
        object["body"] = Value::from(String::from_utf8_lossy(shown));
        object["body_is_whole"] = Value::from(shown.len() == seen.body.len());
    }
    object
}

#[cfg(test)]
mod tests;
