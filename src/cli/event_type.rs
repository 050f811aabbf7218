//! The verbs of `postrider event` that are about types: which there are, what their payloads look
//! like, and types of one's own.
//!
//! What is built in is known without a daemon. It checks no payload: the daemon does, when it is
//! posted.
//!
//! Invariant: schemas and examples are printed as they were given.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::value::RawValue;

use super::output::{Cell, Column, Style, Table};
use super::{Ended, ExitCode, Failure, Session, input};
use crate::admin::protocol::{EventTypeDefinition, EventTypeView};
use crate::catalog;
use crate::domain::event_type::KnownType;

#[derive(Debug, Args)]
pub(super) struct Define {
    /// Its name, such as ORDER_PAID; receivers read it in the event type header
    name: String,
    /// What people read [default: the name]
    #[arg(long)]
    label: Option<String>,
    /// KYC, AML, KYB or Other [default: Other]
    #[arg(long)]
    group: Option<String>,
    /// What it means, in one line
    #[arg(long)]
    meaning: Option<String>,
    /// File with the JSON Schema of its payloads; - is standard input
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// File with an example of a payload; - is standard input
    #[arg(long, value_name = "FILE")]
    example: Option<PathBuf>,
}

/// The table, grouped, with what did not fit.
pub(super) async fn list(session: &mut Session<'_>) -> Ended {
    let mut types = session.client().await?.event_types().await?.items;
    if session.output.json() {
        types.iter().try_for_each(|one| session.output.object(one))?;
        return Ok(ExitCode::Done);
    }
    types.sort_by_key(|one| ["KYC", "AML", "KYB"].iter().position(|group| *group == one.group).unwrap_or(3));
    let drifts = types.iter().any(|one| one.drift.is_some());
    let mut columns = vec![Column::fixed("NAME"), Column::fixed("GROUP").goes(1), Column::fixed("SENT AS").goes(2)];
    if drifts {
        columns.push(Column::fixed("DRIFT"));
    }
    columns.push(Column::shrinking("MEANING").goes(3));
    let rows: Vec<Vec<Cell>> = types.iter().map(|one| row(one, drifts)).collect();
    session.output.rows(&mut Table::new(&columns), &rows)?;
    for one in &types {
        if let Some(drift) = &one.drift {
            let at = session.output.short_time(&drift.last_at);
            let place = if drift.last_path.is_empty() { "the payload" } else { &drift.last_path };
            let last = format!("{place} {}", drift.last_reason);
            session
                .output
                .note(&format!("{}: {} did not fit the schema, the last at {at}: {last}", one.name, drift.count));
        }
        if one.unchecked > 0 {
            session.output.note(&format!("{}: {} were not checked, too many waited", one.name, one.unchecked));
        }
    }
    Ok(ExitCode::Done)
}

fn row(one: &EventTypeView, drifts: bool) -> Vec<Cell> {
    let style = if one.deprecated { Style::Dim } else { Style::Plain };
    let meaning = if one.deprecated { format!("Deprecated. {}", one.meaning) } else { one.meaning.clone() };
    let mut cells = [&one.name, &one.group, &one.wire_name].map(|text| Cell::styled(text, style)).to_vec();
    if drifts {
        let count = one.drift.as_ref().map(|drift| Cell::styled(drift.count.to_string(), Style::Waiting));
        cells.push(count.unwrap_or_else(|| Cell::styled("-", style)));
    }
    cells.push(Cell::styled(meaning, style));
    cells
}

/// Prints the JSON Schema of a type.
pub(super) async fn schema(session: &mut Session<'_>, name: &str) -> Ended {
    let text = match KnownType::find(name).and_then(|known| catalog::schema(known.name)) {
        Some(text) => text.into_owned().into_bytes(),
        None => session.client().await?.event_type_schema(name).await?.bytes,
    };
    print(session, &text)
}

/// Prints an example of a payload of a type.
pub(super) async fn example(session: &mut Session<'_>, name: &str) -> Ended {
    let text = example_of(session, name).await?;
    print(session, &text)
}

/// An example of a payload of a type.
pub(super) async fn example_of(session: &mut Session<'_>, name: &str) -> Result<Vec<u8>, Failure> {
    match KnownType::find(name).and_then(|known| catalog::example(known.name)) {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => Ok(session.client().await?.event_type_example(name).await?.bytes),
    }
}

fn print(session: &mut Session<'_>, text: &[u8]) -> Ended {
    if session.output.json() {
        // On one line, like everything with --json.
        let value: serde_json::Value = serde_json::from_slice(text)
            .map_err(|error| Failure::new(ExitCode::Internal, format!("the daemon sent no JSON: {error}")))?;
        session.output.object(&value)?;
    } else {
        session.output.payload(text)?;
    }
    Ok(ExitCode::Done)
}

/// Defines a type of one's own, or defines it anew.
pub(super) async fn define(session: &mut Session<'_>, arguments: Define) -> Ended {
    let definition = EventTypeDefinition {
        label: arguments.label,
        group: arguments.group,
        meaning: arguments.meaning,
        schema: arguments.schema.as_deref().map(json_file).transpose()?,
        example: arguments.example.as_deref().map(json_file).transpose()?,
    };
    let view = session.client().await?.define_event_type(&arguments.name, &definition).await?;
    if session.output.json() {
        session.output.object(&view)?;
    } else {
        session.output.done(&format!("Defined {}.", view.name))?;
    }
    Ok(ExitCode::Done)
}

fn json_file(path: &Path) -> Result<Box<RawValue>, Failure> {
    let bytes = input::payload(path)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(ExitCode::BadData, format!("{}: not JSON: {error}", path.display())))
}

/// Removes a type of one's own.
pub(super) async fn undefine(session: &mut Session<'_>, name: &str) -> Ended {
    let done = session.client().await?.undefine_event_type(name).await?.done;
    if session.output.json() {
        session.output.object(&serde_json::json!({"name": name, "done": done}))?;
    } else {
        session.output.done(&format!("Removed {name}."))?;
    }
    Ok(ExitCode::Done)
}
