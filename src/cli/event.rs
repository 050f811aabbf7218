//! `postrider event`: posts events as an application would, and looks at those that were posted.
//!
//! Posting goes to the ingest port with a token, not to the admin socket: what works here works
//! for applications.
//!
//! Invariant: the bytes of the payload are posted exactly as they are read.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use url::Url;

use super::delivery::Format;
use super::output::csv::{Field, optional};
use super::output::{Cell, Column, Style, Table};
use super::{Ended, ExitCode, Failure, Session, delivery, event_type, input, status};
use crate::admin::client::ingest::{self, NewEvent};
use crate::admin::client::{Client, EventFilter};
use crate::admin::protocol::EventView;
use crate::domain::secret::Secret;

const EXAMPLES: &str = "\
Examples:
  postrider event send AML_MONITORING payload.json
  echo '{\"scanRef\":\"8f3a\"}' | postrider event send 'aml monitoring' --key 2026-11-23/17
  postrider event list --since 1h
  postrider event types
  postrider event schema 'aml monitoring' > aml.schema.json
  postrider event send SOS_REPORT --example
  postrider event define ORDER_PAID --group Other --schema order.schema.json --example order.json
";

#[derive(Debug, Subcommand)]
#[command(before_help = EXAMPLES)]
pub(super) enum Command {
    /// Post an event
    Send(Send),
    /// Events that were accepted, newest first
    List(List),
    /// One event and its deliveries
    Show {
        /// Its id (evt_…)
        id: String,
    },
    /// The event types there are, and how many payloads did not fit their schemas
    Types,
    /// The JSON Schema of an event type
    Schema {
        /// Name, label or wire name of the event type
        #[arg(value_name = "TYPE")]
        event_type: String,
    },
    /// An example of a payload of an event type
    Example {
        /// Name, label or wire name of the event type
        #[arg(value_name = "TYPE")]
        event_type: String,
    },
    /// Define an event type of your own, or define it anew
    Define(event_type::Define),
    /// Remove an event type of your own
    Undefine {
        /// Its name or label
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Send {
    /// Name, label or wire name of the event type
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// File with the JSON payload; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Post the example of this type instead of a file
    #[arg(long, conflicts_with = "file")]
    example: bool,
    /// Posting again with the same key is harmless
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// File with the ingest token [default: $POSTRIDER_TOKEN_FILE, else ingest.token in the state directory]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where to post, such as http://127.0.0.1:7780 [default: the daemon is asked]
    #[arg(long)]
    url: Option<Url>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// A reference (scanRef, client id, …) or its beginning
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// The event type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    #[command(flatten)]
    range: delivery::Range,
    #[command(flatten)]
    format: delivery::FormatChoice,
}

pub(super) async fn run(session: &mut Session<'_>, command: Command) -> Ended {
    match command {
        Command::Send(arguments) => send(session, arguments).await,
        Command::List(arguments) => list(session, &arguments).await,
        Command::Show { id } => show(session, &id).await,
        Command::Types => event_type::list(session).await,
        Command::Schema { event_type } => event_type::schema(session, &event_type).await,
        Command::Example { event_type } => event_type::example(session, &event_type).await,
        Command::Define(arguments) => event_type::define(session, arguments).await,
        Command::Undefine { name } => event_type::undefine(session, &name).await,
    }
}

async fn send(session: &mut Session<'_>, arguments: Send) -> Ended {
    let payload = if arguments.example {
        event_type::example_of(session, &arguments.event_type).await?
    } else {
        input::payload(&arguments.file)?
    };
    let (base, daemon_state_dir) = match arguments.url {
        Some(url) => (url, None),
        None => {
            let status = session.client().await?.status().await?;
            (ingest_url(&status.ingest.listen)?, Some(PathBuf::from(status.disk.path)))
        }
    };
    if base.scheme() != "http" {
        return Err(Failure::usage("the ingest port speaks plain HTTP: --url has to begin with http://"));
    }
    let token = token(session, arguments.token_file.as_deref(), daemon_state_dir)?;
    let event = NewEvent { base, event_type: arguments.event_type, token, idempotency_key: arguments.key, payload };
    let accepted = ingest::post(event).await?;
    if session.output.json() {
        session.output.object(&accepted)?;
        return Ok(ExitCode::Done);
    }
    session.output.text(&accepted.id)?;
    let again = if accepted.duplicate { "posted before with the same key, " } else { "" };
    let deliveries = accepted.deliveries;
    let noun = if deliveries == 1 { "delivery" } else { "deliveries" };
    session.output.note(&format!("{again}{}, {deliveries} {noun}", accepted.event_type));
    if deliveries == 0 {
        session
            .output
            .note("no active webhook wants this event, by its type or by a filter; see `postrider webhook list`");
    }
    Ok(ExitCode::Done)
}

/// The URL of the port in use, as this machine reaches it.
fn ingest_url(listen: &str) -> Result<Url, Failure> {
    let fault = || Failure::new(ExitCode::Internal, format!("the daemon listens at \"{listen}\", which is no address"));
    let mut address: SocketAddr = listen.parse().map_err(|_| fault())?;
    if address.ip().is_unspecified() {
        // "Every address" is for listening only.
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    Url::parse(&format!("http://{address}")).map_err(|_| fault())
}

/// The token in the file that was named, or in the state directory if it is there.
fn token(
    session: &mut Session<'_>,
    flag: Option<&Path>,
    daemon_state_dir: Option<PathBuf>,
) -> Result<Option<Secret>, Failure> {
    let named = flag.map(Path::to_owned).or_else(|| session.variable("POSTRIDER_TOKEN_FILE"));
    if let Some(file) = named {
        return input::secret(&file).map(Some);
    }
    // A named directory is meant; else the daemon knows best where its state is.
    let named = session.places.state_dir.clone().or_else(|| session.variable("POSTRIDER_STATE_DIR"));
    let state_dir = match named.or(daemon_state_dir) {
        Some(folder) => Some(folder),
        None => {
            let config = session.config_for_finding()?;
            session.state_dir(&config)
        }
    };
    let Some(file) = state_dir.map(|folder| folder.join("ingest.token")) else { return Ok(None) };
    match std::fs::metadata(&file) {
        // Without tokens (`ingest.auth = "none"`) the daemon takes it, else it says what is missing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => input::secret(&file).map(Some).map_err(|failure| {
            failure.advise("name a token you may read by --token-file, or make one with `postrider key create NAME`")
        }),
    }
}

/// The header row; the names are those of the JSON.
const CSV_NAMES: [&str; 8] =
    ["created_at", "id", "type", "scan_ref", "token", "content_type", "payload_bytes", "deliveries"];

fn values(event: &EventView) -> [Field; CSV_NAMES.len()] {
    [
        (&event.created_at).into(),
        (&event.id).into(),
        (&event.event_type).into(),
        optional(event.scan_ref.as_ref()),
        (&event.token).into(),
        (&event.content_type).into(),
        Field::Number(event.payload_bytes.into()),
        Field::Number(event.deliveries.into()),
    ]
}

async fn list(session: &mut Session<'_>, arguments: &List) -> Ended {
    let format = arguments.format.settle(session)?;
    let filter = EventFilter {
        reference: arguments.reference.clone(),
        event_type: arguments.event_type.clone(),
        since: session.instant(arguments.range.since.as_deref())?,
        until: session.instant(arguments.range.until.as_deref())?,
    };
    let client = session.client().await?;
    match format {
        Format::Csv => session.output.values(&CSV_NAMES.map(Field::from))?,
        _ => session.output.note_zone(),
    }
    let columns = [
        Column::fixed("ACCEPTED"),
        Column::shrinking("TYPE"),
        Column::shrinking("SCAN REF").goes(1),
        Column::shrinking("TOKEN").goes(3),
        Column::fixed("BYTES").goes(2),
        Column::fixed("DELIVERIES").goes(4),
        Column::fixed("ID"),
    ];
    let mut table = Table::new(&columns);
    let mut pages = delivery::Pages::new(&arguments.range);
    while let Some(limit) = pages.next() {
        let page = client.events(&filter, limit, pages.cursor()).await?;
        let items = pages.take(page);
        if format == Format::Csv {
            items.iter().try_for_each(|event| session.output.values(&values(event)))?;
        } else if format == Format::Json {
            items.iter().try_for_each(|event| session.output.object(event))?;
        } else if !items.is_empty() {
            let rows: Vec<_> = items.iter().map(|event| row(session, event)).collect();
            session.output.rows(&mut table, &rows)?;
        }
    }
    pages.remark(session, "events");
    Ok(ExitCode::Done)
}

fn row(session: &Session<'_>, event: &EventView) -> Vec<Cell> {
    let none = if event.deliveries == 0 { Style::Waiting } else { Style::Plain };
    vec![
        session.output.short_time(&event.created_at).into(),
        (&event.event_type).into(),
        event.scan_ref.as_deref().unwrap_or("-").into(),
        (&event.token).into(),
        event.payload_bytes.to_string().into(),
        Cell::styled(deliveries(event), none),
        (&event.id).into(),
    ]
}

/// How many there are, and how many webhooks did not want it.
fn deliveries(event: &EventView) -> String {
    match event.skipped {
        0 => event.deliveries.to_string(),
        skipped => format!("{} ({skipped} skipped)", event.deliveries),
    }
}

async fn show(session: &mut Session<'_>, id: &str) -> Ended {
    let client: Client = session.client().await?;
    let event = client.event(id).await?;
    if session.output.json() {
        session.output.object(&event)?;
        return Ok(ExitCode::Done);
    }
    let created = session.output.time(&event.created_at);
    session.output.fields(&[
        ("event", (&event.id).into()),
        ("type", (&event.event_type).into()),
        ("accepted", created.into()),
        ("scan ref", event.scan_ref.as_deref().unwrap_or_default().into()),
        ("references", event.references.join(", ").into()),
        ("token", (&event.token).into()),
        ("payload", format!("{}, {}", status::bytes(event.payload_bytes.into()), event.content_type).into()),
        ("deliveries", deliveries(&event).into()),
    ])?;
    let deliveries = event.delivery_list.unwrap_or_default();
    if !deliveries.is_empty() {
        session.output.text("")?;
        delivery::print_rows(session, &mut delivery::table(), &deliveries)?;
    }
    Ok(ExitCode::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_reached_from_this_machine() {
        let cases = [
            ("127.0.0.1:7780", "http://127.0.0.1:7780/"),
            ("0.0.0.0:80", "http://127.0.0.1/"),
            ("[::]:7780", "http://[::1]:7780/"),
            ("192.0.2.1:9", "http://192.0.2.1:9/"),
        ];
        for (listen, url) in cases {
            assert_eq!(ingest_url(listen).unwrap().as_str(), url);
        }
        assert_eq!(ingest_url("nowhere").unwrap_err().exit, ExitCode::Internal);
    }
}
