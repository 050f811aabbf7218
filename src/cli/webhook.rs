//! `postrider webhook`: makes, shows and changes webhooks.
//!
//! It checks no URL, header or number: the daemon does, the same for everybody. Editing in an
//! editor is in `edit`.
//!
//! Invariants: no secret is ever shown; what cannot be undone is asked for first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::output::{Cell, Column, Style, Table};
use super::{Ended, ExitCode, Failure, Session, edit, input, is_stdin, parse, status};
use crate::admin::client::Client;
use crate::admin::protocol::{HeaderView, WebhookView};

const EXAMPLES: &str = "\
Examples:
  postrider webhook create --name aml --url https://example.net/hook --event-type AML_MONITORING
  postrider webhook list
  postrider webhook set aml retry.count=3 event_types=AML_MONITORING,SOS_REPORT
  openssl rand -hex 32 | tee aml.key | postrider webhook rotate-key aml --signing-key-file -
";

#[derive(Debug, Subcommand)]
#[command(before_help = EXAMPLES)]
pub(super) enum Command {
    /// All webhooks and how they are doing
    List {
        /// Those that were deleted and can still be restored
        #[arg(long)]
        deleted: bool,
    },
    /// One webhook
    Show(Named),
    /// Make a webhook
    Create(Box<Create>),
    /// Change a webhook in $EDITOR
    Edit(Named),
    /// Change fields
    Set {
        /// Name or id
        name: String,
        /// Such as url=https://…, retry.count=3, event_types=A,B, active=false
        #[arg(required = true, value_name = "FIELD=VALUE")]
        fields: Vec<String>,
    },
    /// Make deliveries for it again
    Enable(Named),
    /// Make no more deliveries for it
    Disable(Named),
    /// Let its deliveries wait
    Pause(Named),
    /// Let its deliveries go on
    Resume(Named),
    /// Delete a webhook and cancel its pending deliveries
    Delete {
        /// Name or id
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Undo a deletion of the last ten minutes
    Restore(Named),
    /// Make a webhook like another, without its secrets
    Clone {
        /// Name or id of the other
        name: String,
        /// Name of the new one
        new_name: String,
    },
    /// Replace the signing key
    RotateKey {
        /// Name or id
        name: String,
        /// File with the new key; - is standard input
        #[arg(long, value_name = "FILE")]
        signing_key_file: PathBuf,
        /// How long the old key signs as well [default: the daemon's]
        #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
        keep_previous: Option<Duration>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// Name or id
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// A name of its own
    #[arg(long)]
    name: String,
    /// The receiver
    #[arg(long)]
    url: String,
    /// An event type it wants, or *; repeat for more
    #[arg(long = "event-type", value_name = "TYPE", required = true)]
    event_types: Vec<String>,
    /// A header of your own; repeat for more
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A header whose value is never shown; visible in the process list, so better use a file
    #[arg(long = "secret-header", value_name = "NAME: VALUE")]
    secret_headers: Vec<String>,
    /// File with secret headers, one 'Name: value' a line; - is standard input
    #[arg(long, value_name = "FILE")]
    secret_header_file: Vec<PathBuf>,
    /// File with the key that requests are signed with; - is standard input
    #[arg(long, value_name = "FILE")]
    signing_key_file: Option<PathBuf>,
    /// Attempts after the first
    #[arg(long, value_name = "N")]
    retry_count: Option<u64>,
    /// Time between attempts
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    retry_interval: Option<Duration>,
    /// How the time between attempts grows
    #[arg(long, value_parser = ["fixed", "exponential"])]
    backoff: Option<String>,
    /// How long one attempt may take
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    timeout: Option<Duration>,
    /// The most requests under way at once
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u64>,
    /// Make no deliveries yet
    #[arg(long)]
    inactive: bool,
}

pub(super) async fn run(session: &mut Session<'_>, command: Command) -> Ended {
    match command {
        Command::List { deleted } => list(session, deleted).await,
        Command::Show(Named { name }) => show(session, &name).await,
        Command::Create(arguments) => create(session, &arguments).await,
        Command::Edit(Named { name }) => edit::run(session, &name).await,
        Command::Set { name, fields } => {
            let fields = parse::fields(&fields).map_err(Failure::usage)?;
            change(session, &name, &fields, "Changed").await
        }
        Command::Enable(Named { name }) => change(session, &name, &json!({"active": true}), "Enabled").await,
        Command::Disable(Named { name }) => change(session, &name, &json!({"active": false}), "Disabled").await,
        Command::Pause(Named { name }) => {
            let client = session.client().await?;
            client.pause_webhook(&name).await?;
            say(session, &client, &name, "Paused").await
        }
        Command::Resume(Named { name }) => {
            let client = session.client().await?;
            client.resume_webhook(&name).await?;
            say(session, &client, &name, "Resumed").await
        }
        Command::Delete { name, yes } => delete(session, &name, yes).await,
        Command::Restore(Named { name }) => {
            let client = session.client().await?;
            client.restore_webhook(&name).await?;
            say(session, &client, &name, "Restored").await
        }
        Command::Clone { name, new_name } => duplicate(session, &name, &new_name).await,
        Command::RotateKey { name, signing_key_file, keep_previous } => {
            let key = input::secret(&signing_key_file)?;
            let mut fields = json!({"signing_key": key.expose()});
            if let Some(keep) = keep_previous {
                fields["keep_previous_seconds"] = keep.as_secs().into();
            }
            let client = session.client().await?;
            client.rotate_key(&name, &fields).await?;
            say(session, &client, &name, "Replaced the signing key of").await
        }
    }
}

async fn list(session: &mut Session<'_>, deleted: bool) -> Ended {
    let webhooks = session.client().await?.webhooks(deleted).await?.items;
    if session.output.json() {
        webhooks.iter().try_for_each(|webhook| session.output.object(webhook))?;
        return Ok(ExitCode::Done);
    }
    if webhooks.is_empty() {
        let text =
            if deleted { "nothing to restore" } else { "no webhooks yet; see `postrider webhook create --help`" };
        session.output.note(text);
        return Ok(ExitCode::Done);
    }
    let columns = [
        Column::shrinking("NAME"),
        Column::fixed("STATE"),
        Column::fixed("PENDING").goes(2),
        Column::shrinking("EVENT TYPES").goes(1),
        Column::shrinking("URL"),
    ];
    let rows: Vec<Vec<Cell>> = webhooks
        .iter()
        .map(|webhook| {
            let pending = webhook.lane.pending.to_string();
            let types = webhook.event_types.join(",");
            vec![(&webhook.name).into(), state(webhook), pending.into(), types.into(), (&webhook.url).into()]
        })
        .collect();
    session.output.rows(&mut Table::new(&columns), &rows)?;
    Ok(ExitCode::Done)
}

/// How a webhook is doing, in a word.
fn state(webhook: &WebhookView) -> Cell {
    let (word, style) = match webhook {
        WebhookView { deleted_at: Some(_), .. } => ("deleted", Style::Dim),
        WebhookView { active: false, .. } => ("inactive", Style::Dim),
        WebhookView { paused: true, .. } => ("paused", Style::Waiting),
        webhook if webhook.lane.failing => ("failing", Style::Bad),
        webhook if webhook.lane.cooling_down => ("cooling", Style::Waiting),
        _ => ("active", Style::Good),
    };
    Cell::styled(word, style)
}

async fn show(session: &mut Session<'_>, name: &str) -> Ended {
    let webhook = session.client().await?.webhook(name).await?;
    if session.output.json() {
        session.output.object(&webhook)?;
        return Ok(ExitCode::Done);
    }
    let retry = &webhook.retry;
    let spacing = match retry.backoff.as_str() {
        "exponential" => {
            format!("{} s doubling up to {}", retry.interval_seconds, status::span(retry.max_interval_seconds))
        }
        _ => format!("{} s", retry.interval_seconds),
    };
    let key = match (&webhook.signing_key.set, &webhook.signing_key.changed_at) {
        (true, Some(changed)) => format!("set {}", session.output.time(changed)),
        (true, None) => "set".to_owned(),
        (false, _) => "none: requests are not signed".to_owned(),
    };
    let previous =
        webhook.signing_key.previous_until.as_ref().map_or(String::new(), |until| session.output.time(until));
    let lane = &webhook.lane;
    let headers: Vec<String> = webhook.headers.iter().map(header_in_words).collect();
    let updated = format!("{} by {}", session.output.time(&webhook.updated_at), webhook.updated_by);
    let created = session.output.time(&webhook.created_at);
    session.output.fields(&[
        ("webhook", format!("{} ({}, version {})", webhook.name, webhook.id, webhook.version).into()),
        ("state", state(&webhook)),
        ("url", (&webhook.url).into()),
        ("event types", webhook.event_types.join(", ").into()),
        ("headers", headers.join(", ").into()),
        ("signing key", key.into()),
        ("old key until", previous.into()),
        ("retries", format!("{}, every {spacing}", retry.count).into()),
        ("timeout", format!("{} s", webhook.timeout_seconds).into()),
        ("max in flight", webhook.max_in_flight.to_string().into()),
        ("pending", format!("{}, {} in flight", lane.pending, lane.in_flight).into()),
        (
            "failures",
            if lane.failures > 0 { format!("{} since the last success", lane.failures) } else { String::new() }.into(),
        ),
        ("created", created.into()),
        ("updated", updated.into()),
    ])?;
    Ok(ExitCode::Done)
}

fn header_in_words(header: &HeaderView) -> String {
    match &header.value {
        Some(value) if !header.secret => format!("{}: {value}", header.name),
        _ => format!("{}: (secret)", header.name),
    }
}

async fn create(session: &mut Session<'_>, arguments: &Create) -> Ended {
    let body = body(session, arguments)?;
    let webhook = session.client().await?.create_webhook(&body).await?;
    if session.output.json() {
        session.output.object(&webhook)?;
        return Ok(ExitCode::Done);
    }
    session.output.done(&format!("Created {} ({}).", webhook.name, webhook.id))?;
    if !webhook.signing_key.set {
        let name = &webhook.name;
        session.output.note(&format!(
            "requests are not signed; set a key with `postrider webhook rotate-key {name} --signing-key-file FILE`"
        ));
    }
    Ok(ExitCode::Done)
}

/// The new webhook as the daemon wants it; what is not given is left to its defaults.
fn body(session: &mut Session<'_>, arguments: &Create) -> Result<Value, Failure> {
    let files = arguments.secret_header_file.iter().chain(&arguments.signing_key_file);
    if files.filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::usage("only one file can be standard input"));
    }
    let mut body = Map::new();
    body.insert("name".to_owned(), arguments.name.as_str().into());
    body.insert("url".to_owned(), arguments.url.as_str().into());
    body.insert("event_types".to_owned(), arguments.event_types.clone().into());
    let headers = headers(session, arguments)?;
    let mut given = |name: &str, value: Option<Value>| {
        body.extend(value.map(|value| (name.to_owned(), value)));
    };
    given("headers", (!headers.is_empty()).then(|| headers.into()));
    if let Some(file) = &arguments.signing_key_file {
        given("signing_key", Some(input::secret(file)?.expose().into()));
    }
    let mut retry = Map::new();
    let seconds = |duration: Duration| Value::from(duration.as_secs());
    retry.extend(arguments.retry_count.map(|count| ("count".to_owned(), count.into())));
    retry.extend(arguments.retry_interval.map(|interval| ("interval_seconds".to_owned(), seconds(interval))));
    retry.extend(arguments.backoff.clone().map(|backoff| ("backoff".to_owned(), backoff.into())));
    given("retry", (!retry.is_empty()).then(|| retry.into()));
    given("timeout_seconds", arguments.timeout.map(seconds));
    given("max_in_flight", arguments.max_in_flight.map(Value::from));
    given("active", arguments.inactive.then_some(Value::Bool(false)));
    Ok(Value::Object(body))
}

fn headers(session: &mut Session<'_>, arguments: &Create) -> Result<Vec<Value>, Failure> {
    let mut headers = Vec::new();
    for header in &arguments.headers {
        headers.push(parse::header(header, false).map_err(Failure::usage)?);
    }
    if !arguments.secret_headers.is_empty() {
        session
            .output
            .warn("--secret-header is visible in the process list and the shell's history; use --secret-header-file");
    }
    for header in &arguments.secret_headers {
        headers.push(parse::header(header, true).map_err(Failure::usage)?);
    }
    for file in &arguments.secret_header_file {
        headers.extend(secret_headers(file)?);
    }
    Ok(headers)
}

fn secret_headers(file: &Path) -> Result<Vec<Value>, Failure> {
    let text = input::secret(file)?;
    let lines = text.expose().lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let refused = |text: String| Failure::new(ExitCode::BadData, format!("{}: {text}", file.display()));
            parse::header(line, true).map_err(refused)
        })
        .collect()
}

/// Changes fields of a webhook, whatever its version.
async fn change(session: &mut Session<'_>, name: &str, fields: &Value, verb: &str) -> Ended {
    let webhook = session.client().await?.change_webhook(name, fields).await?;
    report(session, &webhook, verb)
}

/// Says what was done to a webhook, and shows it with `--json`.
async fn say(session: &mut Session<'_>, client: &Client, name: &str, verb: &str) -> Ended {
    let webhook = client.webhook(name).await?;
    report(session, &webhook, verb)
}

pub(super) fn report(session: &mut Session<'_>, webhook: &WebhookView, verb: &str) -> Ended {
    if session.output.json() {
        session.output.object(webhook)?;
    } else {
        session.output.done(&format!("{verb} {} (version {}).", webhook.name, webhook.version))?;
    }
    Ok(ExitCode::Done)
}

async fn delete(session: &mut Session<'_>, name: &str, yes: bool) -> Ended {
    let client = session.client().await?;
    let webhook = client.webhook(name).await?;
    let pending = webhook.lane.pending;
    let what = format!("{} will be deleted and its {pending} pending deliveries cancelled", webhook.name);
    input::confirm(&mut session.output, yes, &what, &webhook.name)?;
    // By id: what was shown is what is deleted, even if names changed meanwhile.
    client.delete_webhook(&webhook.id).await?;
    if session.output.json() {
        session.output.object(&json!({"id": webhook.id, "name": webhook.name, "done": true}))?;
    } else {
        session.output.done(&format!("Deleted {} ({pending} pending deliveries cancelled).", webhook.name))?;
    }
    session.output.note(&format!("undo within ten minutes: `postrider webhook restore {}`", webhook.id));
    Ok(ExitCode::Done)
}

async fn duplicate(session: &mut Session<'_>, name: &str, new_name: &str) -> Ended {
    let client = session.client().await?;
    let (body, missing) = copy(&client.webhook(name).await?, new_name);
    let webhook = client.create_webhook(&body).await?;
    let ended = report(session, &webhook, "Created")?;
    if !missing.is_empty() {
        let missing = missing.join(", ");
        session.output.note(&format!(
            "secrets are not copied: {missing}. It is inactive until you set them (`postrider webhook edit {new_name}`) and run `postrider webhook enable {new_name}`"
        ));
    }
    Ok(ended)
}

/// A webhook like another, and which secrets it lacks; without them it is not active, so that
/// nothing is sent unsigned that should be signed.
fn copy(webhook: &WebhookView, new_name: &str) -> (Value, Vec<String>) {
    let mut body = edit::editable(webhook);
    body.insert("name".to_owned(), new_name.into());
    let open: Vec<Value> = webhook
        .headers
        .iter()
        .filter(|header| !header.secret)
        .map(|header| json!({"name": header.name, "value": header.value}))
        .collect();
    body.insert("headers".to_owned(), open.into());
    let secret = webhook.headers.iter().filter(|header| header.secret).map(|header| format!("header {}", header.name));
    let key = webhook.signing_key.set.then(|| "the signing key".to_owned());
    let missing: Vec<String> = key.into_iter().chain(secret).collect();
    if !missing.is_empty() {
        body.insert("active".to_owned(), false.into());
    }
    (Value::Object(body), missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::SecretView;

    #[test]
    fn a_copy_without_its_secrets_is_not_active() {
        let secret = HeaderView { name: "Authorization".to_owned(), secret: true, set: true, value: None };
        let open = HeaderView { name: "X-Env".to_owned(), value: Some("prod".to_owned()), ..HeaderView::default() };
        let mut webhook = WebhookView { name: "a".to_owned(), active: true, ..WebhookView::default() };
        webhook.headers = vec![open.clone()];
        let (body, missing) = copy(&webhook, "b");
        assert!(missing.is_empty());
        assert_eq!((&body["name"], &body["active"]), (&json!("b"), &json!(true)));
        webhook.headers = vec![secret, open];
        webhook.signing_key = SecretView { set: true, ..SecretView::default() };
        let (body, missing) = copy(&webhook, "b");
        assert_eq!(missing, ["the signing key", "header Authorization"]);
        assert_eq!(body["headers"], json!([{"name": "X-Env", "value": "prod"}]));
        assert_eq!(body["active"], false);
        assert!(body.get("id").is_none() && body.get("version").is_none() && body.get("signing_key").is_none());
    }
}
