//! `postrider delivery resend` and `cancel`: one by one by their ids, or all that a filter matches.
//!
//! The daemon does the work, as a job that goes on without this command; this asks for it, shows
//! how far it is, and stops it when it is interrupted. Invariant: what a filter matches is counted
//! and shown before it is changed, unless `--yes` says that it need not be.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::delivery::{Filter, Range, wanted};
use super::{Ended, ExitCode, Failure, Session, input, worse};
use crate::admin::client::{Bulk, Client, ClientError};
use crate::admin::protocol::{BulkCount, BulkRequest, JobView};

/// How often to ask how far a job is.
const INTERVAL: Duration = Duration::from_millis(300);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ids (dlv_…); without any, a filter says which
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// From then on: 1h, 2d (ago), 2026-11-23 or 2026-11-23T09:30:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// All there are: with resend all that failed, with cancel all that are pending
    #[arg(long)]
    all: bool,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Deliveries per second [default: 50]
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Bulk {
    const fn done(self) -> &'static str {
        match self {
            Self::Resend => "resent",
            Self::Cancel => "cancelled",
        }
    }

    const fn words(self, done: bool) -> &'static str {
        match (self, done) {
            (Self::Resend, true) => "will be sent again",
            (Self::Resend, false) => "is under way already",
            (Self::Cancel, true) => "is cancelled",
            (Self::Cancel, false) => "had nothing left to cancel",
        }
    }
}

pub(super) async fn run(session: &mut Session<'_>, bulk: Bulk, arguments: &Arguments) -> Ended {
    let range = Range { since: arguments.since.clone(), until: arguments.until.clone(), ..Range::default() };
    let filter = wanted(session, &arguments.filter, &range)?.object();
    let by_filter = !filter.is_empty() || arguments.all;
    match (arguments.ids.is_empty(), by_filter) {
        (false, false) if arguments.dry_run || arguments.rate.is_some() => {
            Err(Failure::usage("--dry-run and --rate are for what a filter matches"))
        }
        (false, false) => each(session, bulk, &arguments.ids).await,
        (true, true) => {
            let rate_per_second = arguments.rate;
            let request = BulkRequest { filter, all: arguments.all, dry_run: false, rate_per_second };
            many(session, bulk, &request, arguments).await
        }
        (false, true) => Err(Failure::usage("say which by ids or by a filter, not by both")),
        (true, false) => Err(Failure::usage("say which: by ids (dlv_…), by a filter such as --webhook NAME, or --all")),
    }
}

/// One after the other; one that fails does not keep the rest from being asked for.
async fn each(session: &mut Session<'_>, bulk: Bulk, ids: &[String]) -> Ended {
    let client = session.client().await?;
    let mut ended = ExitCode::Done;
    for id in ids {
        match one(session, &client, bulk, id).await {
            Ok(()) => {}
            // Without the daemon the rest would fail the same way.
            Err(failure) if matches!(failure.exit, ExitCode::Unreachable | ExitCode::BrokenPipe) => {
                return Err(failure);
            }
            Err(failure) => {
                session.output.failure(&Failure { text: format!("{id}: {}", failure.text), ..failure.clone() });
                ended = worse(ended, failure.exit);
            }
        }
    }
    Ok(ended)
}

async fn one(session: &mut Session<'_>, client: &Client, bulk: Bulk, id: &str) -> Result<(), Failure> {
    if bulk == Bulk::Cancel {
        let done = client.cancel(id).await?.done;
        return if session.output.json() {
            session.output.object(&json!({"id": id, "done": done}))
        } else {
            session.output.done(&format!("{id} {}", bulk.words(done)))
        };
    }
    // A person hears of it while it can still be stopped.
    let before = session.output.can_ask() && !session.output.json();
    if before && let Some(dead) = client.delivery(id).await?.dead_links.filter(|dead| *dead > 0) {
        session.output.warn(&format!("{id}: {dead} links in the payload will likely not work any more"));
    }
    let resent = client.resend(id).await?;
    if session.output.json() {
        return session.output.object(&json!({"id": id, "done": resent.done, "warnings": resent.warnings}));
    }
    if !before {
        resent.warnings.iter().for_each(|warning| session.output.warn(&format!("{id}: {warning}")));
    }
    session.output.done(&format!("{id} {}", bulk.words(resent.done)))
}

async fn many(session: &mut Session<'_>, bulk: Bulk, request: &BulkRequest, arguments: &Arguments) -> Ended {
    let client = session.client().await?;
    if arguments.dry_run || !arguments.yes {
        let count = client.count_bulk(bulk, request).await?;
        if arguments.dry_run && session.output.json() {
            session.output.object(&count)?;
            return Ok(ExitCode::Done);
        }
        if arguments.dry_run {
            show_count(session, &count)?;
            return Ok(ExitCode::Done);
        }
        if count.matched > 0 {
            by_webhook(&count).iter().for_each(|line| session.output.note(line));
            warn_of_links(session, &count);
            let what = format!("{} will be {}", in_words(&count), bulk.done());
            input::agree(&mut session.output, false, &what)?;
        }
    }
    // From here on an interruption stops the job, not only this command.
    let interrupt = signal(SignalKind::interrupt()).ok();
    let job = client.start_bulk(bulk, request).await?;
    let job = follow(session, &client, bulk, job, interrupt).await?;
    if session.output.json() {
        session.output.object(&job)?;
    } else {
        session.output.done(&format!("{}.", progress(bulk, &job)))?;
    }
    let all_well = job.state == "done" && job.failed == 0;
    if let Some(error) = &job.error {
        session.output.warn(&format!("the job ended early: {error}"));
    } else if job.state == "stopped" {
        session.output.note("it was stopped; what was asked for until then stays so");
    }
    Ok(if all_well { ExitCode::Done } else { ExitCode::No })
}

/// Shows how far a job is until it is over; an interruption stops it.
async fn follow(
    session: &mut Session<'_>,
    client: &Client,
    bulk: Bulk,
    mut job: JobView,
    mut interrupt: Option<Signal>,
) -> Result<JobView, Failure> {
    while job.state == "running" {
        let waits = job.waits.as_ref().map_or(String::new(), |waits| format!(" (waits: {waits})"));
        session.output.progress(&format!("{}{waits}", progress(bulk, &job)));
        let interrupted = async {
            match &mut interrupt {
                Some(interrupt) => interrupt.recv().await,
                None => std::future::pending().await,
            }
        };
        let asked = tokio::select! {
            _ = interrupted => client.stop_job(&job.id).await,
            () = tokio::time::sleep(INTERVAL) => client.job(&job.id).await,
        };
        job = asked.map_err(|error| lost(error, bulk, &job))?;
    }
    session.output.progress(&progress(bulk, &job));
    Ok(job)
}

/// The daemon went away, and the job with it.
fn lost(error: ClientError, bulk: Bulk, job: &JobView) -> Failure {
    let text = format!("{error}; {} were {} by then", job.changed, bulk.done());
    Failure { text, ..Failure::from(error) }.advise("a job ends with the daemon; what was done stays done: ask again")
}

fn progress(bulk: Bulk, job: &JobView) -> String {
    let least = if job.complete { "" } else { "at least " };
    let counts = [(job.skipped, "skipped"), (job.failed, "failed")];
    let rest = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!(", {count} {word}"));
    format!("{} of {least}{} {}{}", job.changed, job.matched, bulk.done(), rest.collect::<String>())
}

fn in_words(count: &BulkCount) -> String {
    let least = if count.complete { "" } else { "at least " };
    let noun = if count.matched == 1 { "delivery" } else { "deliveries" };
    format!("{least}{} {noun}", count.matched)
}

fn by_webhook(count: &BulkCount) -> Vec<String> {
    count.by_webhook.iter().map(|(name, number)| format!("  {name}: {number}")).collect()
}

fn show_count(session: &mut Session<'_>, count: &BulkCount) -> Result<(), Failure> {
    let time = |at: &Option<String>| at.as_ref().map_or(String::new(), |at| session.output.time(at));
    let (oldest, newest) = (time(&count.oldest), time(&count.newest));
    let webhooks: Vec<String> = count.by_webhook.iter().map(|(name, number)| format!("{name}: {number}")).collect();
    session.output.fields(&[
        ("would change", in_words(count).into()),
        ("webhooks", webhooks.join(", ").into()),
        ("oldest", oldest.into()),
        ("newest", newest.into()),
    ])?;
    warn_of_links(session, count);
    Ok(())
}

fn warn_of_links(session: &mut Session<'_>, count: &BulkCount) {
    if let Some(sample) = count.dead_links.as_ref().filter(|sample| sample.with > 0) {
        let (with, sampled) = (sample.with, sample.sampled);
        session.output.warn(&format!("{with} of {sampled} payloads looked at have links that likely no longer work"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_what_is_known() {
        let mut job = JobView { matched: 10, complete: true, changed: 3, ..JobView::default() };
        assert_eq!(progress(Bulk::Resend, &job), "3 of 10 resent");
        (job.complete, job.skipped, job.failed) = (false, 2, 1);
        assert_eq!(progress(Bulk::Cancel, &job), "3 of at least 10 cancelled, 2 skipped, 1 failed");
    }
}
