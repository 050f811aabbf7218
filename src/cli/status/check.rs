//! `postrider status --check`: one line and an exit code, as monitoring plugins have them.
//!
//! It only compares; the daemon decides what is failing. Invariant: 0, 1, 2 and 3 are OK, WARNING, CRITICAL and UNKNOWN, and
//! the line begins with that word, whatever happens.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use super::super::output::{Cell, Style};
use super::super::{Ended, ExitCode, Failure, Session, parse};
use super::span;
use crate::admin::client::ClientError;
use crate::admin::protocol::Status;
use crate::domain::text::printable;

/// Two limits; `None` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Limits {
    warning: Option<u64>,
    critical: Option<u64>,
}

fn limits(text: &str, number: impl Fn(&str) -> Result<u64, String>) -> Result<Limits, String> {
    let (warning, critical) = text.split_once(',').map_or((text, ""), |(warning, critical)| (warning, critical));
    let limit = |text: &str| if text.is_empty() { Ok(None) } else { number(text).map(Some) };
    Ok(Limits { warning: limit(warning)?, critical: limit(critical)? })
}

fn counts(text: &str) -> Result<Limits, String> {
    limits(text, |text| text.parse().map_err(|_| format!("\"{text}\" is not a number; write WARNING,CRITICAL")))
}

fn ages(text: &str) -> Result<Limits, String> {
    limits(text, |text| parse::duration(text).map(|age: Duration| age.as_secs()))
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Thresholds of --check, each WARNING,CRITICAL; one may be left out")]
pub(in super::super) struct Thresholds {
    /// Answer as a monitoring plugin: one line, and 0, 1, 2 or 3 for OK, WARNING, CRITICAL and UNKNOWN
    #[arg(long, help_heading = "Options")]
    pub(in super::super) check: bool,
    /// Pending deliveries
    #[arg(long, requires = "check", value_name = "W,C", default_value = "10000,100000", value_parser = counts)]
    pending: Limits,
    /// Age of the oldest pending delivery
    #[arg(long, requires = "check", value_name = "W,C", default_value = "1h,1d", value_parser = ages)]
    oldest: Limits,
    /// Failing webhooks
    #[arg(long, requires = "check", value_name = "W,C", default_value = "1,", value_parser = counts)]
    failing: Limits,
    /// Free room on the disk, in percent; below the floor of the configuration it is always CRITICAL
    #[arg(long, requires = "check", value_name = "W,C", default_value = "10,5", value_parser = counts)]
    free: Limits,
}

/// How it is, the worst last. UNKNOWN is for wrong usage and answers that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What is found, most serious first, and the numbers for a graph.
struct Judgement {
    found: Vec<(Level, String)>,
    data: String,
}

impl Judgement {
    fn note(&mut self, level: Level, text: impl Into<String>) {
        if level > Level::Ok {
            self.found.push((level, text.into()));
        }
    }

    /// `value` and its limits, as a graph wants them.
    fn datum(&mut self, name: &str, value: u64, unit: &str, limits: Limits) {
        let limit = |limit: Option<u64>| limit.map_or(String::new(), |limit| limit.to_string());
        // Writing to a String can not fail.
        let _ = write!(self.data, " {name}={value}{unit};{};{};0", limit(limits.warning), limit(limits.critical));
    }
}

fn level(limits: Limits, reaches: impl Fn(u64) -> bool) -> Level {
    if limits.critical.is_some_and(&reaches) {
        Level::Critical
    } else if limits.warning.is_some_and(&reaches) {
        Level::Warning
    } else {
        Level::Ok
    }
}

fn above(value: u64, limits: Limits) -> Level {
    level(limits, |limit| value >= limit)
}

fn below(value: u64, limits: Limits) -> Level {
    level(limits, |limit| value <= limit)
}

fn judge(status: &Status, thresholds: &Thresholds) -> Judgement {
    let mut judgement = Judgement { found: Vec::new(), data: String::new() };
    if let Some(why) = &status.journal.failure {
        judgement.note(Level::Critical, format!("the journal failed: {}", printable(why)));
    } else if !status.ingest.accepting {
        let why = status.ingest.reason.as_deref().unwrap_or("no reason is known");
        judgement.note(Level::Critical, format!("events are refused: {}", printable(why)));
    }
    judgement.note(above(status.pending, thresholds.pending), format!("{} pending", status.pending));
    judgement.datum("pending", status.pending, "", thresholds.pending);
    let oldest = status.oldest_pending_seconds.unwrap_or(0);
    judgement.note(above(oldest, thresholds.oldest), format!("the oldest pending for {}", span(oldest)));
    judgement.datum("oldest", oldest, "s", thresholds.oldest);
    let failing = status.failing_webhooks.len() as u64;
    let names: Vec<_> = status.failing_webhooks.iter().take(5).map(|name| printable(name)).collect();
    judgement.note(above(failing, thresholds.failing), format!("{failing} failing: {}", names.join(", ")));
    judgement.datum("failing", failing, "", thresholds.failing);
    let disk = &status.disk;
    if disk.total_bytes > 0 {
        let free = u64::try_from(u128::from(disk.free_bytes) * 100 / u128::from(disk.total_bytes)).unwrap_or(100);
        let level = if disk.below_floor { Level::Critical } else { below(free, thresholds.free) };
        judgement.note(level, format!("{free} % of the disk free"));
        judgement.datum("free", free, "%", thresholds.free);
    }
    let is_searchable = matches!(status.index.state.as_str(), "ready" | "opening" | "rebuilding");
    judgement.note(if is_searchable { Level::Ok } else { Level::Warning }, "searching does not work");
    judgement.note(if status.journal.quarantined > 0 { Level::Warning } else { Level::Ok }, "the journal was damaged");
    judgement.note(if status.email.failing { Level::Warning } else { Level::Ok }, "mail does not get out");
    let refused = status.config_refused.is_some();
    judgement.note(if refused { Level::Warning } else { Level::Ok }, "the configuration file is refused");
    judgement.found.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    judgement
}

pub(in super::super) async fn run(session: &mut Session<'_>, thresholds: &Thresholds) -> Ended {
    let status = match session.client().await {
        Ok(client) => client.status().await,
        Err(failure) => {
            let level = if failure.exit == ExitCode::Unreachable { Level::Critical } else { Level::Unknown };
            return tell(session, level, &failure.text.replace('\n', "; "), "");
        }
    };
    let status = match status {
        Ok(status) => status,
        Err(error @ ClientError::Unreachable { .. }) => return tell(session, Level::Critical, &error.to_string(), ""),
        Err(error) => return tell(session, Level::Unknown, &error.to_string(), ""),
    };
    let judgement = judge(&status, thresholds);
    let level = judgement.found.first().map_or(Level::Ok, |(level, _)| *level);
    let words: Vec<&str> = judgement.found.iter().map(|(_, text)| text.as_str()).collect();
    let text = if words.is_empty() {
        format!("{} pending, {} webhooks, none failing", status.pending, status.webhooks)
    } else {
        words.join(", ")
    };
    tell(session, level, &text, &judgement.data)
}

fn tell(session: &mut Session<'_>, level: Level, text: &str, data: &str) -> Ended {
    // A bar begins the numbers: there may be none in the text.
    let text = text.replace('|', "/");
    if session.output.json() {
        session.output.object(&serde_json::json!({"level": level.word(), "text": text, "data": data.trim_start()}))?;
    } else {
        let style = match level {
            Level::Ok => Style::Good,
            Level::Warning => Style::Waiting,
            Level::Critical | Level::Unknown => Style::Bad,
        };
        let data = if data.is_empty() { String::new() } else { format!(" |{data}") };
        let line = [Cell::styled(format!("POSTRIDER {}", level.word()), style), format!(" - {text}{data}").into()];
        session.output.line(&line)?;
    }
    Ok(match level {
        Level::Ok => ExitCode::Done,
        level => ExitCode::Check(level as u8),
    })
}

impl Thresholds {
    /// Without `--check` there are none.
    pub(in super::super) fn check_usage(&self) -> Result<(), Failure> {
        let inverted = |limits: Limits| matches!((limits.warning, limits.critical), (Some(w), Some(c)) if w > c);
        let wrong = [("--pending", self.pending), ("--oldest", self.oldest), ("--failing", self.failing)]
            .into_iter()
            .find(|(_, limits)| inverted(*limits));
        match wrong {
            Some((flag, _)) => Err(Failure::usage(format!("{flag}: WARNING is above CRITICAL"))),
            None if matches!((self.free.warning, self.free.critical), (Some(w), Some(c)) if w < c) => {
                Err(Failure::usage("--free: WARNING is below CRITICAL"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::{DiskStatus, IndexStatus, IngestStatus};

    fn thresholds() -> Thresholds {
        let both = |warning, critical| Limits { warning: Some(warning), critical: Some(critical) };
        Thresholds {
            check: true,
            pending: both(10, 20),
            oldest: both(60, 3600),
            failing: Limits { warning: Some(1), critical: None },
            free: both(10, 5),
        }
    }

    fn judged(change: impl FnOnce(&mut Status)) -> (Level, String) {
        let mut status = Status {
            ingest: IngestStatus { accepting: true, ..IngestStatus::default() },
            disk: DiskStatus { free_bytes: 50, total_bytes: 100, ..DiskStatus::default() },
            index: IndexStatus { state: "ready".to_owned(), ..IndexStatus::default() },
            ..Status::default()
        };
        change(&mut status);
        let judgement = judge(&status, &thresholds());
        let level = judgement.found.first().map_or(Level::Ok, |(level, _)| *level);
        (level, judgement.found.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn limits_are_reached_at_their_value() {
        for (pending, expected) in [(9, Level::Ok), (10, Level::Warning), (19, Level::Warning), (20, Level::Critical)] {
            assert_eq!(judged(|status| status.pending = pending).0, expected, "{pending}");
        }
        for (free, expected) in [(11, Level::Ok), (10, Level::Warning), (6, Level::Warning), (5, Level::Critical)] {
            assert_eq!(judged(|status| status.disk.free_bytes = free).0, expected, "{free}");
        }
        assert_eq!(judged(|status| status.oldest_pending_seconds = Some(61)).0, Level::Warning);
        assert_eq!(judged(|status| status.failing_webhooks = vec!["a".into(); 50]).0, Level::Warning);
    }

    #[test]
    fn the_worst_comes_first_and_decides() {
        let (worst, text) = judged(|status| {
            status.pending = 12;
            status.ingest.accepting = false;
            status.email.failing = true;
        });
        assert_eq!(worst, Level::Critical);
        assert!(
            text.starts_with("events are refused") && text.contains("12 pending") && text.contains("mail"),
            "{text}"
        );
        assert_eq!(judged(|status| status.disk.below_floor = true).0, Level::Critical);
        assert_eq!(judged(|status| status.journal.failure = Some("EIO".into())).0, Level::Critical);
        assert_eq!(judged(|status| status.index.state = "unavailable".into()).0, Level::Warning);
    }

    #[test]
    fn numbers_follow_in_the_form_of_plugins() {
        let status = Status { pending: 3, oldest_pending_seconds: Some(7), ..Status::default() };
        let data = judge(&status, &thresholds()).data;
        assert_eq!(data, " pending=3;10;20;0 oldest=7s;60;3600;0 failing=0;1;;0");
    }

    #[test]
    fn thresholds_are_read() {
        assert_eq!(ages("5m,1h").unwrap(), Limits { warning: Some(300), critical: Some(3600) });
        assert_eq!(counts(",3").unwrap(), Limits { warning: None, critical: Some(3) });
        assert_eq!(counts("1").unwrap(), Limits { warning: Some(1), critical: None });
        assert!(counts("many").is_err() && ages("soon").is_err());
        let mut inverted = thresholds();
        inverted.pending = Limits { warning: Some(9), critical: Some(1) };
        assert!(inverted.check_usage().is_err() && thresholds().check_usage().is_ok());
    }
}
