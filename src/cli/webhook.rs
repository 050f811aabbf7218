//! `postrider webhook`: makes, shows and changes webhooks.
//!
//! It checks no URL, header or number: the daemon does, the same for everybody. Editing in an
//! editor is in `edit`.
//!
//! Invariants: no secret is ever shown; what cannot be undone is asked for first.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{Cell, Column, Style, Table};
use super::{Ended, ExitCode, Session, create, edit, input, parse, status, trial};
use crate::admin::client::Client;
use crate::admin::protocol::{ConditionView, HeaderView, WebhookView};

const EXAMPLES: &str = "\
Examples:
  postrider webhook create --name aml --url https://example.net/hook --event-type AML_MONITORING
  postrider webhook test aml
  postrider webhook list
  postrider webhook set aml retry.count=3 event_types=AML_MONITORING,SOS_REPORT
  postrider webhook set aml failure_email.to=ops@example.com filter='[{\"path\":\"/final\",\"equals\":true}]'
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
    Create(Box<create::Create>),
    /// Change a webhook in $EDITOR
    Edit(Named),
    /// Change fields
    Set {
        /// Name or id
        name: String,
        /// Such as url=https://…, retry.count=3, event_types=A,B, active=false, oauth.token=@FILE
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
    /// Send one marked request, and tell step by step how it went
    Test(trial::Test),
    /// Make a webhook like another, with its secrets; inactive at first
    Clone {
        /// Name or id of the other
        name: String,
        /// Name of the new one
        new_name: String,
        /// Make deliveries for it from now on
        #[arg(long)]
        active: bool,
    },
    /// When deliveries are attempted while the receiver stays down
    Plan(Named),
    /// Show one secret; who asked is noted
    Reveal {
        /// Name or id
        name: String,
        /// signing_key, signing_key.previous, oauth.token, oauth.request, tls.client_key or headers.NAME
        field: String,
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

pub(super) async fn run(session: &mut Session<'_>, command: Command) -> Ended {
    match command {
        Command::List { deleted } => list(session, deleted).await,
        Command::Show(Named { name }) => show(session, &name).await,
        Command::Create(arguments) => create::run(session, &arguments).await,
        Command::Edit(Named { name }) => edit::run(session, &name).await,
        Command::Set { name, fields } => {
            let fields = create::fields(&fields)?;
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
        Command::Test(arguments) => trial::run(session, &arguments).await,
        Command::Clone { name, new_name, active } => duplicate(session, &name, &new_name, active).await,
        Command::Plan(Named { name }) => plan(session, &name).await,
        Command::Reveal { name, field } => reveal(session, &name, &field).await,
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
    let optional = Optional::of(&webhook);
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
        ("failure e-mail", optional.email.into()),
        ("oauth", optional.oauth.into()),
        ("tls", optional.tls.into()),
        ("filter", optional.filter.into()),
        ("retries", format!("{}, every {spacing}", retry.count).into()),
        ("timeout", format!("{} s", webhook.timeout_seconds).into()),
        ("max in flight", optional.in_flight.into()),
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

/// The parts that may be absent, in words; empty when they are.
struct Optional {
    email: String,
    oauth: String,
    tls: String,
    filter: String,
    in_flight: String,
}

impl Optional {
    fn of(webhook: &WebhookView) -> Self {
        let email = webhook.failure_email.as_ref().map(|email| {
            let body = if email.include_body { " with the webhook body" } else { "" };
            format!("{}{body}", email.to.join(", "))
        });
        let oauth = webhook.oauth.as_ref().map(|oauth| {
            let set = |secret: bool, name: &str| if secret { format!(", {name} set") } else { String::new() };
            format!("{}{}{}", oauth.endpoint, set(oauth.token.set, "token"), set(oauth.request.set, "request"))
        });
        let tls = webhook.tls.as_ref().map(|tls| {
            let parts = [(tls.ca.is_some(), "own CA"), (tls.client_certificate.is_some(), "client certificate")];
            let parts: Vec<&str> = parts.iter().filter(|(there, _)| *there).map(|(_, name)| *name).collect();
            parts.join(", ")
        });
        let filter: Vec<String> = webhook.filter.iter().map(condition_in_words).collect();
        let rate = webhook.rate_per_second.map_or(String::new(), |rate| format!(", {rate} per second"));
        let ordered = if webhook.ordered { ", in order" } else { "" };
        Self {
            email: email.unwrap_or_default(),
            oauth: oauth.unwrap_or_default(),
            tls: tls.unwrap_or_default(),
            filter: filter.join(" and "),
            in_flight: format!("{}{rate}{ordered}", webhook.max_in_flight),
        }
    }
}

fn condition_in_words(condition: &ConditionView) -> String {
    let path = &condition.path;
    match (&condition.equals, &condition.one_of, condition.exists) {
        (Some(value), ..) => format!("{path} = {value}"),
        (_, Some(values), _) => format!("{path} in {}", Value::from(values.clone())),
        (_, _, Some(false)) => format!("{path} is absent"),
        _ => format!("{path} is there"),
    }
}

fn header_in_words(header: &HeaderView) -> String {
    match &header.value {
        Some(value) if !header.secret => format!("{}: {value}", header.name),
        _ => format!("{}: (secret)", header.name),
    }
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

async fn duplicate(session: &mut Session<'_>, name: &str, new_name: &str, active: bool) -> Ended {
    let client = session.client().await?;
    let webhook = client.clone_webhook(name, &json!({"name": new_name, "active": active})).await?;
    let ended = report(session, &webhook, "Created")?;
    if !active {
        let text = format!("it is inactive, so that nothing is sent twice; see `postrider webhook enable {new_name}`");
        session.output.note(&text);
    }
    Ok(ended)
}

/// Shows one secret. Who asked is noted by the daemon.
async fn reveal(session: &mut Session<'_>, name: &str, field: &str) -> Ended {
    let secret = session.client().await?.secret(name, field).await?;
    if session.output.json() {
        session.output.object(&secret)?;
    } else {
        session.output.text(&secret.value)?;
    }
    Ok(ExitCode::Done)
}

/// What happens while the receiver stays down.
async fn plan(session: &mut Session<'_>, name: &str) -> Ended {
    let plan = session.client().await?.plan(name).await?;
    if session.output.json() {
        session.output.object(&plan)?;
        return Ok(ExitCode::Done);
    }
    session.output.text("If the receiver stays down, a delivery is attempted:")?;
    for (place, after) in plan.attempts_after_seconds.iter().enumerate() {
        let when = if *after == 0 { "at once".to_owned() } else { format!("after {}", status::span(*after)) };
        session.output.text(&format!("  {:>3}. {when}", place + 1))?;
    }
    let mail = if plan.mail_to.is_empty() {
        "nobody is told by mail".to_owned()
    } else {
        format!("a mail goes to {}", plan.mail_to.join(", "))
    };
    session.output.text(&format!("Then it is failed, and {mail}."))?;
    session.output.note(&format!(
        "times are the earliest: each retry comes up to 10 % later, and an attempt may take {} s itself",
        plan.timeout_seconds
    ));
    Ok(ExitCode::Done)
}
