//! What the fifth tab says, row by row: facts of the daemon, tokens, event types, the audit log.
//!
//! It knows no places on the screen; only how wide a fact may be, because long ones take several rows.

use serde_json::Value;

use super::{Check, Part};
use crate::admin::protocol::{AuditView, EmailStatus, EventTypeView, KeyView, Status};
use crate::tui::dialog::verify::verdict;
use crate::tui::model::Model;
use crate::tui::text::{Shown, bytes, count, plural, shown, shown_text, span, wrapped};
use crate::tui::theme::Role;
use crate::tui::view::table::{Cell, cell, text};

/// A row that can be chosen.
pub(super) struct Row {
    /// What it is known by within its part.
    pub(super) key: String,
    /// What it says.
    pub(super) cells: Vec<Cell>,
}

/// Columns of the name of a fact.
pub(super) const NAME: usize = 12;

/// Rows of a part, narrowed to what is looked for.
pub(super) fn rows(model: &Model, part: Part) -> Vec<Row> {
    match part {
        Part::Daemon => facts(model),
        Part::Tokens => tokens(model).into_iter().map(|key| token(model, key)).collect(),
        Part::Types => types(model).into_iter().map(kind).collect(),
        Part::Audit => audit(model).into_iter().map(|one| entry(model, one)).collect(),
    }
}

/// Whether one of these texts holds what is looked for.
fn is_wanted(model: &Model, texts: &[&str]) -> bool {
    let wanted = model.system.filter.to_lowercase();
    wanted.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&wanted))
}

/// Tokens that are shown.
pub(super) fn tokens(model: &Model) -> Vec<&KeyView> {
    let all = model.system.keys.iter().flatten();
    all.filter(|key| is_wanted(model, &[&key.name, &key.created_by, &key.types.join(" ")])).collect()
}

/// Event types that are shown: those with drift first.
pub(super) fn types(model: &Model) -> Vec<&EventTypeView> {
    let mut all: Vec<&EventTypeView> =
        model.types.iter().filter(|kind| is_wanted(model, &[&kind.name, &kind.label, &kind.group])).collect();
    all.sort_by_key(|kind| std::cmp::Reverse(drifted(kind)));
    all
}

/// Payloads of a type that did not fit.
pub(super) fn drifted(kind: &EventTypeView) -> u64 {
    kind.drift.as_ref().map_or(0, |drift| drift.count)
}

/// Entries of the audit log that are shown.
pub(super) fn audit(model: &Model) -> Vec<&AuditView> {
    let all = model.system.audit.iter().flatten();
    all.filter(|one| is_wanted(model, &[&one.by, &one.action, &one.subject])).collect()
}

fn token(model: &Model, key: &KeyView) -> Row {
    let kinds = if key.types.is_empty() { "every type".to_owned() } else { key.types.join(", ") };
    let used = match &key.last_used_at {
        Some(at) => text(shown_text(Some(at), &model.zone, Shown::MonthDay)),
        None => cell("not since start", Role::Dim),
    };
    let made = format!("{} {}", shown_text(Some(&key.created_at), &model.zone, Shown::Date), key.created_by);
    Row { key: key.name.clone(), cells: vec![text(key.name.clone()), text(kinds), used, text(made)] }
}

fn kind(kind: &EventTypeView) -> Row {
    let count_of = drifted(kind);
    let (drift, why) = match &kind.drift {
        Some(drift) if drift.count > 0 => {
            let place = if drift.last_path.is_empty() { "the payload" } else { &drift.last_path };
            (cell(count(count_of), Role::Warning), format!("{place} {}", drift.last_reason))
        }
        _ if !kind.has_schema => (cell("-", Role::Dim), "no schema: nothing is checked".to_owned()),
        _ => (text("0"), String::new()),
    };
    let unchecked = if kind.unchecked == 0 { String::new() } else { format!("{} not checked", count(kind.unchecked)) };
    let told: Vec<String> = [why, unchecked].into_iter().filter(|text| !text.is_empty()).collect();
    let hooks = if kind.webhooks == 0 { cell("0", Role::Dim) } else { text(kind.webhooks.to_string()) };
    let cells = vec![text(kind.label.clone()), hooks, drift, text(told.join("; ")), text(kind.group.clone())];
    Row { key: kind.name.clone(), cells }
}

fn entry(model: &Model, one: &AuditView) -> Row {
    let detail = match &one.detail {
        Value::Null => String::new(),
        Value::Object(fields) if fields.is_empty() => String::new(),
        Value::Object(fields) => fields.keys().cloned().collect::<Vec<String>>().join(", "),
        other => other.to_string(),
    };
    Row {
        key: format!("{} {} {} {}", one.at, one.by, one.action, one.subject),
        cells: vec![
            text(shown_text(Some(&one.at), &model.zone, Shown::MonthDay)),
            text(one.by.clone()),
            text(one.action.clone()),
            text(one.subject.clone()),
            text(detail),
        ],
    }
}

/// Facts of the daemon, long ones over several rows.
fn facts(model: &Model) -> Vec<Row> {
    let room = super::view::fact_room(model);
    let mut rows = Vec::new();
    for (number, (name, value, role)) in told(model).into_iter().enumerate() {
        if !is_wanted(model, &[name, &value]) {
            continue;
        }
        for (at, line) in wrapped(&value, room).into_iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            rows.push(Row { key: format!("{number} {at}"), cells: vec![cell(name, Role::Dim), cell(line, role)] });
        }
    }
    rows
}

type Fact = (&'static str, String, Role);

fn told(model: &Model) -> Vec<Fact> {
    let Some(status) = &model.status else { return Vec::new() };
    let mut told: Vec<Fact> = status.problems.iter().map(|problem| ("! Problem", problem.clone(), Role::Bad)).collect();
    if told.is_empty() {
        told.push(("Problems", "none".to_owned(), Role::Good));
    }
    let up = span(status.uptime_seconds);
    told.push(("Daemon", format!("postrider {}, pid {}, up {up}", status.version, status.pid), Role::Text));
    told.extend(configuration(model, status));
    told.extend(traffic(status));
    told.extend(store(status));
    told.push(mail(model, &status.email));
    let kept = format!("{} after the last attempt", plural(status.retention_days, "day", "days"));
    told.push(("Kept", kept, Role::Text));
    told.push(last_check(model));
    if model.read_only {
        told.push(("Access", "read-only: this program can look and change nothing".to_owned(), Role::Text));
    }
    told
}

fn configuration(model: &Model, status: &Status) -> Vec<Fact> {
    let read = status.config_read_at.as_deref();
    let read = read.map_or(String::new(), |at| format!(", read {}", shown_text(Some(at), &model.zone, Shown::Full)));
    let mut told = vec![match &status.config_file {
        Some(file) => ("Config", format!("{file}{read}"), Role::Text),
        None if status.trial => {
            ("Config", "no file: every default, loopback receivers permitted".to_owned(), Role::Text)
        }
        None => ("Config", "no file: every default".to_owned(), Role::Text),
    }];
    if let Some(why) = &status.config_refused {
        told.push((
            "! Config",
            format!("refused when it was read last: {why}; what was read before is in force"),
            Role::Bad,
        ));
    }
    told
}

fn traffic(status: &Status) -> Vec<Fact> {
    let ingest = &status.ingest;
    let socket = ingest.socket.as_ref().map_or(String::new(), |path| format!(" and {path}"));
    let listens = match (ingest.accepting, ingest.reason.as_deref()) {
        (true, _) => ("Ingest", format!("accepting on {}{socket}", ingest.listen), Role::Good),
        (false, reason) => {
            let why = reason.map_or(String::new(), |reason| format!(": {reason}"));
            ("! Ingest", format!("refusing on {}{socket}{why}", ingest.listen), Role::Bad)
        }
    };
    let accepted = format!(
        "{} accepted, {} refused since the start; {} now",
        plural(ingest.accepted, "event", "events"),
        count(ingest.refused),
        plural(ingest.connections as u64, "connection", "connections")
    );
    let oldest = status.oldest_pending_seconds.map_or(String::new(), |age| format!(", the oldest for {}", span(age)));
    let pending = format!(
        "{} pending{oldest}; {} under way; {} since the start",
        count(status.pending),
        status.in_flight,
        plural(status.attempts, "attempt", "attempts")
    );
    let hooks = count(status.webhooks as u64);
    let hooks = match status.failing_webhooks.as_slice() {
        [] => ("Webhooks", format!("{hooks}, none failing"), Role::Text),
        failing => ("! Webhooks", format!("{hooks}, {} failing: {}", failing.len(), failing.join(", ")), Role::Bad),
    };
    vec![listens, ("Events", accepted, Role::Text), ("Deliveries", pending, Role::Text), hooks]
}

fn store(status: &Status) -> Vec<Fact> {
    let (journal, index, disk) = (&status.journal, &status.index, &status.disk);
    let since = journal.oldest_day.as_ref().map_or(String::new(), |day| format!(" since {day}"));
    let size = format!("{} in {}{since}", bytes(journal.bytes), plural(journal.segments as u64, "segment", "segments"));
    let damaged = if journal.quarantined == 0 {
        String::new()
    } else {
        format!(", {} set aside", plural(journal.quarantined, "damaged stretch", "damaged stretches"))
    };
    let of_journal = match &journal.failure {
        Some(why) => ("! Journal", format!("FAILED: {why}; {size}{damaged}"), Role::Bad),
        None => ("Journal", format!("{size}{damaged}"), if damaged.is_empty() { Role::Text } else { Role::Warning }),
    };
    let detail = index.detail.as_ref().map_or(String::new(), |detail| format!(": {detail}"));
    let behind = journal.sequence.saturating_sub(index.position);
    let behind = if behind == 0 { String::new() } else { format!(", {} behind", plural(behind, "record", "records")) };
    let ready = index.state == "ready";
    let of_index = format!("{}{detail}, {}{behind}", index.state, bytes(index.bytes));
    let used = disk.total_bytes.saturating_sub(disk.free_bytes);
    let share = (used * 100).checked_div(disk.total_bytes).unwrap_or(0);
    let full = usize::try_from(share / 10).unwrap_or(0).min(10);
    let bar = format!("[{}{}] {share} % used", "#".repeat(full), ".".repeat(10 - full));
    let room = format!(
        "{bar}, {} free of {}; refuses events below {}",
        bytes(disk.free_bytes),
        bytes(disk.total_bytes),
        bytes(disk.floor_bytes)
    );
    vec![
        of_journal,
        (if ready { "Index" } else { "! Index" }, of_index, if ready { Role::Text } else { Role::Warning }),
        (if disk.below_floor { "! Disk" } else { "Disk" }, room, if disk.below_floor { Role::Bad } else { Role::Text }),
        ("Directory", disk.path.clone(), Role::Text),
    ]
}

fn mail(model: &Model, email: &EmailStatus) -> Fact {
    if !email.configured {
        return ("Mail", "off: no mail server is configured".to_owned(), Role::Text);
    }
    let waits = match (email.waiting, email.held_failures) {
        (0, 0) => "nothing waits".to_owned(),
        (mails, failures) => {
            format!(
                "{}, {} not told yet",
                plural(mails as u64, "mail waits", "mails wait"),
                plural(failures, "failure", "failures")
            )
        }
    };
    let date = |at: &String| shown_text(Some(at), &model.zone, Shown::MonthDay);
    let last = email.last_sent_at.as_ref().map_or(String::new(), |at| format!(", the last went out {}", date(at)));
    let error = match (&email.last_error, &email.last_error_at) {
        (Some(error), Some(at)) => format!("; {}: {error}", date(at)),
        _ => String::new(),
    };
    let (name, role) = if email.failing { ("! Mail", Role::Bad) } else { ("Mail", Role::Text) };
    (name, format!("{waits}{last}{error}"), role)
}

fn last_check(model: &Model) -> Fact {
    match &model.system.check {
        Check::Never if model.read_only => ("Last check", "none since this program started".to_owned(), Role::Text),
        Check::Never => ("Last check", "none since this program started; V checks every record".to_owned(), Role::Text),
        Check::Running(since) => {
            ("Last check", format!("under way since {}", shown(*since, &model.zone, Shown::Time)), Role::Waiting)
        }
        Check::Done(at, found) => {
            let (told, role) = verdict(found);
            ("Last check", format!("{}: {told}", shown(*at, &model.zone, Shown::Time)), role)
        }
    }
}
