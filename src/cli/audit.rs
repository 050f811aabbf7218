//! `postrider audit`: who changed what, newest first.
//!
//! It knows nothing that the daemon has not noted, and changes nothing. What an entry holds beside
//! who, when and to what is put into words here.
//!
//! Invariant: an entry is one row, whatever it holds.

use clap::Args;
use serde_json::Value;

use super::delivery::{Pages, Range};
use super::output::{Cell, Column, Style, Table};
use super::{Ended, ExitCode, Session};
use crate::admin::client::AuditFilter;
use crate::admin::protocol::AuditView;

const EXAMPLES: &str = "\
Examples:
  postrider audit --since 1d
  postrider audit --webhook aml-watch --action webhook.edit
  postrider audit --by alice --json
";

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Name or id of a webhook: what was done to it and its deliveries, also under earlier names
    #[arg(long, value_name = "NAME")]
    webhook: Option<String>,
    /// Who did it
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// What was done, such as webhook.edit, or webhook for all of these
    #[arg(long)]
    action: Option<String>,
    #[command(flatten)]
    range: Range,
}

pub(super) async fn run(session: &mut Session<'_>, arguments: &Arguments) -> Ended {
    let filter = AuditFilter {
        subject: arguments.webhook.clone(),
        by: arguments.by.clone(),
        action: arguments.action.clone(),
        since: session.instant(arguments.range.since.as_deref())?,
        until: session.instant(arguments.range.until.as_deref())?,
    };
    let client = session.client().await?;
    let mut table = Table::new(&[
        Column::fixed("TIME"),
        Column::fixed("WHO"),
        Column::fixed("ACTION"),
        Column::shrinking("SUBJECT"),
        Column::shrinking("WHAT").goes(1),
    ]);
    let mut pages = Pages::new(&arguments.range);
    session.output.note_zone();
    while let Some(limit) = pages.next() {
        let page = client.audit(&filter, limit, pages.cursor()).await?;
        let items = pages.take(page);
        if session.output.json() {
            items.iter().try_for_each(|entry| session.output.object(entry))?;
        } else if !items.is_empty() {
            let rows: Vec<Vec<Cell>> = items.iter().map(|entry| row(session, entry)).collect();
            session.output.rows(&mut table, &rows)?;
        }
    }
    pages.remark(session, "entries");
    Ok(ExitCode::Done)
}

fn row(session: &Session<'_>, entry: &AuditView) -> Vec<Cell> {
    // A name that the system does not know is the number already.
    let who = match entry.uid {
        Some(uid) if !entry.by.contains(&uid.to_string()) => format!("{} (uid {uid})", entry.by),
        _ => entry.by.clone(),
    };
    let own = if entry.uid.is_none() { Style::Dim } else { Style::Plain };
    vec![
        session.output.short_time(&entry.at).into(),
        Cell::styled(who, own),
        (&entry.action).into(),
        (&entry.subject).into(),
        words(&entry.detail).into(),
    ]
}

/// What changed, in words. Ids are for programs.
fn words(detail: &Value) -> String {
    let Some(fields) = detail.as_object() else { return shown(detail) };
    let mut told = Vec::new();
    for (field, value) in fields.iter().filter(|(field, _)| !matches!(field.as_str(), "id" | "webhook_id")) {
        match value {
            Value::Object(changed) if field == "changed" => {
                told.extend(changed.iter().map(|(name, change)| match change.as_array().map(Vec::as_slice) {
                    Some([before, after]) => format!("{name}: {} -> {}", shown(before), shown(after)),
                    _ => format!("{name} {}", shown(change)),
                }));
            }
            value => told.push(format!("{} {}", field.replace('_', " "), shown(value))),
        }
    }
    told.join("; ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) if !list.iter().any(Value::is_object) => {
            list.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_detail_is_put_into_words() {
        let edit = json!({
            "id": "wh_1", "version": 3,
            "changed": {"retry.count": [5, 7], "signing_key": "replaced", "event_types": [["A"], ["A", "B"]],
                        "headers.X-Env": [null, "prod"], "filter": [[], [{"path": "/f", "exists": true}]]},
        });
        let text = words(&edit);
        for part in [
            "version 3",
            "retry.count: 5 -> 7",
            "signing_key replaced",
            "event_types: A -> A, B",
            "headers.X-Env: none -> prod",
            "filter: none -> [{\"exists\":true,\"path\":\"/f\"}]",
        ] {
            assert!(text.split("; ").any(|one| one == part), "{part}: {text}");
        }
        assert!(!text.contains("wh_1"));
        assert_eq!(words(&json!({"why": "the receiver answered 410 Gone"})), "why the receiver answered 410 Gone");
        assert_eq!(words(&json!({"types": []})), "types none");
        assert_eq!((words(&json!({})).as_str(), words(&json!("odd")).as_str()), ("", "odd"));
    }
}
