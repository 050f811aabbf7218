//! `postrider status`: how the daemon is doing; with `--check`, for monitoring.
//!
//! It judges nothing: what an operator should know is in the daemon's own list of problems.
//!
//! Invariant: exit 0 means that the daemon answered, not that all is well.

mod check;

pub(super) use check::Thresholds;

use super::output::{Cell, Style};
use super::{Ended, ExitCode, Session};
use crate::admin::protocol::{EmailStatus, Status};

pub(super) async fn run(session: &mut Session<'_>, thresholds: &Thresholds) -> Ended {
    if thresholds.check {
        thresholds.check_usage()?;
        return check::run(session, thresholds).await;
    }
    let status = session.client().await?.status().await?;
    if session.output.json() {
        session.output.object(&status)?;
        return Ok(ExitCode::Done);
    }
    session.output.fields(&fields(&status))?;
    for problem in &status.problems {
        session.output.text(&format!("! {problem}"))?;
    }
    Ok(ExitCode::Done)
}

fn fields(status: &Status) -> Vec<(&'static str, Cell)> {
    let ingest = &status.ingest;
    let accepting = match (&ingest.reason, ingest.accepting) {
        (_, true) => Cell::styled(format!("accepting on {}", ingest.listen), Style::Good),
        (Some(reason), false) => Cell::styled(format!("refusing on {}: {reason}", ingest.listen), Style::Bad),
        (None, false) => Cell::styled(format!("refusing on {}", ingest.listen), Style::Bad),
    };
    let oldest = status.oldest_pending_seconds.map_or(String::new(), |age| format!(", the oldest for {}", span(age)));
    let failing = Cell::styled(status.failing_webhooks.join(", "), Style::Bad);
    let journal = &status.journal;
    let failure = journal.failure.as_ref().map_or(String::new(), |failure| format!("; FAILED: {failure}"));
    let damaged = if journal.quarantined > 0 { format!(", {} damaged", journal.quarantined) } else { String::new() };
    let since = journal.oldest_day.as_ref().map_or(String::new(), |day| format!(" since {day}"));
    let index = &status.index;
    let detail = index.detail.as_ref().map_or(String::new(), |detail| format!(": {detail}"));
    let disk = &status.disk;
    let floor = if disk.below_floor { Style::Bad } else { Style::Plain };
    vec![
        ("daemon", format!("{}, pid {}, up {}", status.version, status.pid, span(status.uptime_seconds)).into()),
        ("ingest", accepting),
        ("socket", ingest.socket.as_deref().unwrap_or_default().into()),
        ("accepted", format!("{} events, {} refused, since the start", ingest.accepted, ingest.refused).into()),
        ("pending", format!("{}{oldest}", status.pending).into()),
        ("in flight", status.in_flight.to_string().into()),
        ("attempts", format!("{} since the start", status.attempts).into()),
        ("webhooks", status.webhooks.to_string().into()),
        ("failing", failing),
        (
            "journal",
            format!("{} in {} segments{since}{damaged}{failure}", bytes(journal.bytes), journal.segments).into(),
        ),
        ("index", format!("{}{detail}, {}", index.state, bytes(index.bytes)).into()),
        (
            "disk",
            Cell::styled(
                format!("{} free of {} at {}", bytes(disk.free_bytes), bytes(disk.total_bytes), disk.path),
                floor,
            ),
        ),
        ("metrics", status.metrics_listen.as_ref().map_or(String::new(), |at| format!("http://{at}/metrics")).into()),
        ("mail", mail(&status.email)),
        ("config", config(status)),
        ("access", if status.read_only { "read-only" } else { "" }.into()),
    ]
}

fn config(status: &Status) -> Cell {
    let Some(file) = &status.config_file else { return "none: every default, loopback receivers permitted".into() };
    let read = status.config_read_at.as_ref().map_or(String::new(), |at| format!(", read at {at}"));
    let refused = if status.config_refused.is_some() { "; what it says now is refused" } else { "" };
    let style = if status.config_refused.is_some() { Style::Bad } else { Style::Plain };
    Cell::styled(format!("{file}{read}{refused}"), style)
}

fn mail(email: &EmailStatus) -> Cell {
    let waiting = match (email.waiting, email.held_failures) {
        (0, 0) => "nothing waits".to_owned(),
        (mails, failures) => format!("{failures} failures not told yet, {mails} mails wait"),
    };
    let last = email.last_sent_at.as_ref().map_or(String::new(), |at| format!(", the last went out at {at}"));
    let error = match (&email.last_error, &email.last_error_at) {
        (Some(error), Some(at)) => format!("; at {at}: {error}"),
        _ => String::new(),
    };
    let style = if email.failing { Style::Bad } else { Style::Plain };
    let text = if email.configured { format!("{waiting}{last}{error}") } else { "off".to_owned() };
    Cell::styled(text, style)
}

/// Seconds in the two largest units.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Bytes in a unit that leaves few digits.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_few_digits() {
        assert_eq!((span(59), span(3599), span(90_061)), ("59 s".into(), "59 min 59 s".into(), "1 d 1 h".into()));
        assert_eq!((bytes(1023), bytes(1536), bytes(5 << 40)), ("1023 B".into(), "1.5 KiB".into(), "5.0 TiB".into()));
        assert!(bytes(u64::MAX).ends_with("TiB"));
    }
}
