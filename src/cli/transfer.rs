//! `postrider export` and `import`: webhooks and event types as a file, and back.
//!
//! The daemon decides what a document means; here it becomes TOML or JSON and is read again.
//!
//! Invariants: an import shows what it would change before it changes anything; a file that the
//! document names for a secret is read by whoever runs the command, never by the daemon.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::output::{Cell, Column, Style, Table};
use super::{Ended, ExitCode, Failure, Session, input, is_stdin};
use crate::admin::protocol::ImportView;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Where to; - is standard output
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The form
    #[arg(long, value_parser = ["toml", "json"], default_value = "toml")]
    format: String,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file, TOML or JSON; - is standard input
    file: PathBuf,
    /// Delete webhooks that the file does not name
    #[arg(long)]
    prune: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

const INTRODUCTION: &str = "\
# Webhooks and event types of postrider. Secrets are sealed with the master key of the daemon that wrote this; in
# their place can stand a plain text, or { file = \"/path\" }. `postrider import FILE` applies it.
";

pub(super) async fn export(session: &mut Session<'_>, arguments: &Export) -> Ended {
    let document = session.client().await?.export().await?;
    let as_json = arguments.format == "json" || session.output.json();
    let text = if as_json { pretty(&document)? } else { as_toml(&document)? };
    if is_stdin(&arguments.file) {
        session.output.text(text.trim_end())?;
        return Ok(ExitCode::Done);
    }
    write(&arguments.file, &text)?;
    session.output.note(&format!("written to {}", arguments.file.display()));
    Ok(ExitCode::Done)
}

fn pretty(document: &Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(document);
    text.map(|text| text + "\n").map_err(|error| Failure::new(ExitCode::Internal, error.to_string()))
}

fn as_toml(document: &Value) -> Result<String, Failure> {
    let table = toml::Table::try_from(document).map_err(|error| {
        Failure::new(ExitCode::BadData, format!("not to be had as TOML: {error}"))
            .advise("a filter that compares with null, or with a number beyond 64 bits with a sign, can only be written as JSON: add --format json")
    })?;
    Ok(format!("{INTRODUCTION}\n{table}"))
}

/// Only this user can read what is written: names and URLs are nobody else's business.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::new(ExitCode::CannotCreate, format!("{}: {error}", path.display()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(cannot)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(cannot)
}

pub(super) async fn import(session: &mut Session<'_>, arguments: &Import) -> Ended {
    let bytes = input::payload(&arguments.file)?;
    let folder = arguments.file.parent().filter(|_| !is_stdin(&arguments.file)).unwrap_or(Path::new("."));
    let document = parse(&arguments.file, &bytes, folder)?;
    let client = session.client().await?;
    let must_ask = !arguments.yes && !arguments.dry_run && session.output.can_ask();
    if arguments.dry_run || must_ask {
        let plan = client.import(&document, arguments.prune, true).await?;
        if arguments.dry_run {
            return show(session, &plan);
        }
        show(session, &plan)?;
        if plan.changes.iter().all(|change| change.action == "unchanged") {
            return Ok(ExitCode::Done);
        }
        let answer = session.output.ask("Apply? [y/N]").unwrap_or_default();
        if !matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes") {
            return Err(Failure::new(ExitCode::No, "nothing was changed"));
        }
    }
    if arguments.prune && !arguments.yes && !session.output.can_ask() {
        let plan = client.import(&document, true, true).await?;
        let deleted = plan.changes.iter().filter(|change| change.action == "delete").count();
        if deleted > 0 {
            show(session, &plan)?;
            let what = format!("{deleted} would be deleted and there is no terminal to ask at");
            return Err(Failure::usage(what).advise("add --yes to do it"));
        }
    }
    let done = client.import(&document, arguments.prune, false).await?;
    show(session, &done)
}

/// The document in a file, with the secrets that lie in files of their own.
fn parse(path: &Path, bytes: &[u8], folder: &Path) -> Result<Value, Failure> {
    let refused = |text: String| Failure::new(ExitCode::BadData, format!("{}: {text}", path.display()));
    let text = std::str::from_utf8(bytes).map_err(|_| refused("not UTF-8 text".to_owned()))?;
    let mut document: Value = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| refused(error.to_string()))?
    } else {
        toml::from_str(text).map_err(|error| refused(error.to_string()))?
    };
    let webhooks = document.get_mut("webhooks").and_then(Value::as_array_mut);
    for webhook in webhooks.into_iter().flatten().filter_map(Value::as_object_mut) {
        read_files(webhook, folder)?;
    }
    Ok(document)
}

/// Puts what lies in a file of its own into its place.
fn read_files(webhook: &mut Map<String, Value>, folder: &Path) -> Result<(), Failure> {
    let read = |value: Option<&mut Value>| -> Result<(), Failure> {
        let Some(value) = value else { return Ok(()) };
        let file = value.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.get("file"));
        if let Some(file) = file.and_then(Value::as_str) {
            *value = input::secret(&folder.join(file))?.expose().into();
        }
        Ok(())
    };
    read(webhook.get_mut("signing_key"))?;
    let places =
        [("oauth", "token"), ("oauth", "request"), ("tls", "ca"), ("tls", "client_certificate"), ("tls", "client_key")];
    for (part, field) in places {
        read(webhook.get_mut(part).and_then(|part| part.get_mut(field)))?;
    }
    let headers = webhook.get_mut("headers").and_then(Value::as_array_mut);
    headers.into_iter().flatten().try_for_each(|header| read(header.get_mut("value")))
}

fn show(session: &mut Session<'_>, import: &ImportView) -> Ended {
    let failed = import.changes.iter().any(|change| change.problem.is_some());
    let ended = if failed { ExitCode::No } else { ExitCode::Done };
    if session.output.json() {
        session.output.object(import)?;
        return Ok(ended);
    }
    let columns =
        [Column::fixed("ACTION"), Column::fixed("WHAT"), Column::shrinking("NAME"), Column::shrinking("FIELDS")];
    let changes = import.changes.iter().filter(|change| change.action != "unchanged");
    let rows: Vec<Vec<Cell>> = changes
        .map(|change| {
            let style = match change.action.as_str() {
                "create" => Style::Good,
                "delete" => Style::Bad,
                _ => Style::Waiting,
            };
            let fields = change.problem.clone().unwrap_or_else(|| change.fields.join(", "));
            let what = change.kind.replace('_', " ");
            vec![Cell::styled(&change.action, style), what.into(), (&change.name).into(), fields.into()]
        })
        .collect();
    if !rows.is_empty() {
        session.output.rows(&mut Table::new(&columns), &rows)?;
    }
    let count = |action: &str| import.changes.iter().filter(|change| change.action == action).count();
    let counts = format!(
        "{} to create, {} to change, {} to delete, {} unchanged",
        count("create"),
        count("change"),
        count("delete"),
        count("unchanged")
    );
    let applied = import.changes.iter().filter(|change| change.applied && change.action != "unchanged").count();
    session.output.note(&if import.dry_run { counts } else { format!("{applied} applied") });
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let document = json!({"postrider_export": 1, "webhooks": [{
            "name": "aml", "url": "https://a.example/", "active": true, "event_types": ["*"],
            "headers": [{"name": "X", "secret": true, "value": {"sealed": "abc"}}],
            "retry": {"count": 3}, "filter": [{"path": "/final", "equals": true}],
        }]});
        let path = Path::new("x");
        for text in [as_toml(&document).unwrap(), pretty(&document).unwrap()] {
            assert_eq!(parse(path, text.as_bytes(), path).unwrap(), document, "{text}");
        }
        let with_null = json!({"webhooks": [{"filter": [{"path": "/a", "equals": null}]}]});
        assert!(as_toml(&with_null).unwrap_err().advice.unwrap().contains("json"));
    }

    #[test]
    fn secrets_come_from_files_beside_the_document() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "s3cret\n").unwrap();
        let text = "[[webhooks]]\nname = \"a\"\nsigning_key = { file = \"key\" }\n[webhooks.oauth]\ntoken = { file = \"key\" }\n[[webhooks.headers]]\nname = \"X\"\nvalue = { file = \"key\" }\n";
        let document = parse(Path::new("x"), text.as_bytes(), folder.path()).unwrap();
        let webhook = &document["webhooks"][0];
        assert_eq!((&webhook["signing_key"], &webhook["oauth"]["token"]), (&json!("s3cret"), &json!("s3cret")));
        assert_eq!(webhook["headers"][0]["value"], "s3cret");
        let missing = text.replace("\"key\"", "\"none\"");
        assert_eq!(parse(Path::new("x"), missing.as_bytes(), folder.path()).unwrap_err().exit, ExitCode::NoInput);
    }
}
