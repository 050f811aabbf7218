//! `postrider delivery`: finds deliveries, shows what was tried, sends again, gives up.
//!
//! It decides nothing about when and whether to send: it asks the daemon to.
//!
//! Invariant: a list never holds more than was asked for, and says so when there is more.

use clap::{Args, Subcommand, ValueEnum};

use super::output::csv::{Field, optional};
use super::output::{Cell, Column, Style, Table};
use super::{Ended, ExitCode, Failure, Session, bulk, status, tail};
use crate::admin::client::{Bulk, DeliveryFilter, curl};
use crate::admin::protocol::{AttemptView, DeliveryView, PageView};
use crate::domain::attempt::Class;

const EXAMPLES: &str = "\
Examples:
  postrider delivery list --class 0,5xx --since 1h
  postrider delivery list --ref 8f3a
  postrider delivery show dlv_…
  postrider delivery resend dlv_…
  postrider delivery resend --webhook aml-watch --since 1d --dry-run
  postrider delivery tail --webhook aml-watch
";

/// What one request asks for at most.
const PAGE_MAX: usize = 100;

#[derive(Debug, Subcommand)]
#[command(before_help = EXAMPLES)]
pub(super) enum Command {
    /// Deliveries, newest first
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        format: FormatChoice,
    },
    /// One delivery and what was tried
    Show {
        /// Its id (dlv_…)
        id: String,
        /// Print a command for a shell that repeats the request; variables stand for secrets
        #[arg(long)]
        curl: bool,
    },
    /// The bytes that are delivered
    Payload {
        /// Its id (dlv_…)
        id: String,
    },
    /// Send again, with the webhook's current URL and keys
    Resend(bulk::Arguments),
    /// Give up the attempts that are still to come
    Cancel(bulk::Arguments),
    /// Show deliveries and their changes as they come, until interrupted
    Tail {
        #[command(flatten)]
        filter: Filter,
        /// How often to look
        #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = super::parse::duration)]
        interval: std::time::Duration,
    },
}

/// Which deliveries are meant.
#[derive(Debug, Default, Args)]
pub(super) struct Filter {
    /// A reference (scanRef, client id, …) or its beginning
    #[arg(long = "ref", value_name = "REF")]
    pub(super) reference: Option<String>,
    /// Text, also inside payloads
    #[arg(long, value_name = "TEXT")]
    pub(super) q: Option<String>,
    /// Name or id of the webhook
    #[arg(long, value_name = "NAME")]
    pub(super) webhook: Option<String>,
    /// The event type
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) event_type: Option<String>,
    /// Class of the last attempt: 0 no response, 2xx success, 3xx redirection, 4xx client error, 5xx server error
    #[arg(long, value_name = "CLASS", value_delimiter = ',', value_parser = ["0", "1xx", "2xx", "3xx", "4xx", "5xx"])]
    pub(super) class: Vec<String>,
    /// Status code of the last attempt; 0 is no response
    #[arg(long)]
    pub(super) code: Option<u16>,
    /// The state; skipped: the webhook's filter did not match
    #[arg(long, value_parser = ["pending", "delivered", "failed", "cancelled", "skipped"])]
    pub(super) state: Option<String>,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Table,
    /// Comma-separated values for spreadsheets
    Csv,
    /// The same as --json
    Json,
}

#[derive(Debug, Default, Args)]
pub(super) struct FormatChoice {
    /// How the list is written
    #[arg(long, value_enum)]
    format: Option<Format>,
}

impl FormatChoice {
    /// The format in force. With JSON, the output is told.
    pub(super) fn settle(&self, session: &mut Session<'_>) -> Result<Format, Failure> {
        match self.format {
            Some(Format::Table | Format::Csv) if session.output.json() => {
                Err(Failure::usage("--json and --format say different things"))
            }
            Some(Format::Json) => {
                session.output.use_json();
                Ok(Format::Json)
            }
            None if session.output.json() => Ok(Format::Json),
            chosen => Ok(chosen.unwrap_or_default()),
        }
    }
}

/// Which part of a list is meant.
#[derive(Debug, Default, Args)]
pub(super) struct Range {
    /// From then on: 1h, 2d (ago), 2026-11-23 or 2026-11-23T09:30:00Z
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: usize,
    /// No limit
    #[arg(long, conflicts_with = "limit")]
    pub(super) all: bool,
}

/// Walks through the pages of a list up to its limit.
pub(super) struct Pages {
    left: usize,
    cursor: Option<String>,
    started: bool,
}

impl Pages {
    pub(super) fn new(range: &Range) -> Self {
        Self { left: if range.all { usize::MAX } else { range.limit }, cursor: None, started: false }
    }

    /// How many to ask for next; `None` at the end.
    pub(super) fn next(&self) -> Option<usize> {
        (self.left > 0 && (!self.started || self.cursor.is_some())).then_some(self.left.min(PAGE_MAX))
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// What of a page belongs to the list. A page may be empty and yet not be the last.
    pub(super) fn take<T>(&mut self, page: PageView<T>) -> Vec<T> {
        let mut items = page.items;
        items.truncate(self.left);
        self.left -= items.len();
        // A daemon that gives the same cursor again would be asked for ever.
        self.cursor = page.cursor.filter(|cursor| self.cursor.as_ref() != Some(cursor));
        self.started = true;
        items
    }

    pub(super) fn remark(&self, session: &mut Session<'_>, what: &str) {
        if self.cursor.is_some() {
            session.output.note(&format!("there may be more {what}: see --limit and --all"));
        }
    }
}

pub(super) async fn run(session: &mut Session<'_>, command: Command) -> Ended {
    match command {
        Command::List { filter, range, format } => {
            let format = format.settle(session)?;
            list(session, &filter, &range, format).await
        }
        Command::Show { id, curl: true } => show_curl(session, &id).await,
        Command::Show { id, curl: false } => show(session, &id).await,
        Command::Payload { id } => {
            let payload = session.client().await?.delivery_payload(&id).await?;
            session.output.payload(&payload.bytes)?;
            Ok(ExitCode::Done)
        }
        Command::Resend(arguments) => bulk::run(session, Bulk::Resend, &arguments).await,
        Command::Cancel(arguments) => bulk::run(session, Bulk::Cancel, &arguments).await,
        Command::Tail { filter, interval } => tail::run(session, &filter, interval).await,
    }
}

/// The filter as the daemon wants it.
pub(super) fn wanted(session: &Session<'_>, filter: &Filter, range: &Range) -> Result<DeliveryFilter, Failure> {
    Ok(DeliveryFilter {
        reference: filter.reference.clone(),
        text: filter.q.clone(),
        webhook: filter.webhook.clone(),
        event_type: filter.event_type.clone(),
        classes: filter.class.clone(),
        code: filter.code,
        state: filter.state.clone(),
        since: session.instant(range.since.as_deref())?,
        until: session.instant(range.until.as_deref())?,
    })
}

async fn list(session: &mut Session<'_>, filter: &Filter, range: &Range, format: Format) -> Ended {
    let filter = wanted(session, filter, range)?;
    let client = session.client().await?;
    let mut table = table();
    let mut pages = Pages::new(range);
    let mut found = false;
    match format {
        Format::Csv => session.output.values(&CSV_NAMES.map(Field::from))?,
        _ => session.output.note_zone(),
    }
    while let Some(limit) = pages.next() {
        let page = client.deliveries(&filter, limit, pages.cursor()).await?;
        let items = pages.take(page);
        found |= !items.is_empty();
        match format {
            Format::Csv => items.iter().try_for_each(|delivery| session.output.values(&values(delivery)))?,
            _ => print_rows(session, &mut table, &items)?,
        }
    }
    pages.remark(session, "deliveries");
    if let Some(name) = filter.webhook.as_deref().filter(|_| !found)
        && client.webhook(name).await.is_err()
    {
        // "Nothing" should not be read as "nothing failed" when the name is mistyped.
        session.output.warn(&format!("there is no webhook {name:?} now; see `postrider webhook list`"));
    }
    Ok(ExitCode::Done)
}

/// The header row; the names are those of the JSON.
const CSV_NAMES: [&str; 15] = [
    "created_at",
    "id",
    "event_id",
    "webhook_name",
    "event_type",
    "scan_ref",
    "state",
    "last_code",
    "last_class",
    "last_error",
    "attempts_made",
    "attempts_max",
    "next_attempt_at",
    "payload_bytes",
    "url",
];

fn values(delivery: &DeliveryView) -> [Field; CSV_NAMES.len()] {
    [
        (&delivery.created_at).into(),
        (&delivery.id).into(),
        (&delivery.event_id).into(),
        (&delivery.webhook_name).into(),
        (&delivery.event_type).into(),
        optional(delivery.scan_ref.as_ref()),
        (&delivery.state).into(),
        delivery.last_code.map_or(Field::Nothing, |code| Field::Number(code.into())),
        optional(delivery.last_class.as_ref()),
        optional(delivery.last_error.as_ref()),
        Field::Number(delivery.attempts_made.into()),
        Field::Number(delivery.attempts_max.into()),
        optional(delivery.next_attempt_at.as_ref()),
        Field::Number(delivery.payload_bytes.into()),
        (&delivery.url).into(),
    ]
}

/// The columns of a list of deliveries.
pub(super) fn table() -> Table {
    Table::new(&[
        Column::fixed("CREATED"),
        Column::shrinking("WEBHOOK"),
        Column::shrinking("TYPE").goes(3),
        Column::shrinking("SCAN REF").goes(2),
        Column::fixed("STATE"),
        Column::fixed("CODE").goes(1),
        Column::fixed("TRIES").goes(4),
        Column::fixed("ID"),
    ])
}

/// Deliveries as rows, or as JSON lines.
pub(super) fn print_rows(session: &mut Session<'_>, table: &mut Table, items: &[DeliveryView]) -> Result<(), Failure> {
    if session.output.json() {
        return items.iter().try_for_each(|delivery| session.output.object(delivery));
    }
    if items.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = items.iter().map(|delivery| row(session, delivery)).collect();
    session.output.rows(table, &rows)
}

fn row(session: &Session<'_>, delivery: &DeliveryView) -> Vec<Cell> {
    vec![
        session.output.short_time(&delivery.created_at).into(),
        (&delivery.webhook_name).into(),
        (&delivery.event_type).into(),
        delivery.scan_ref.as_deref().unwrap_or("-").into(),
        Cell::styled(&delivery.state, Style::of_state(&delivery.state)),
        result(delivery).into(),
        format!("{}/{}", delivery.attempts_made, delivery.attempts_max).into(),
        (&delivery.id).into(),
    ]
}

/// The last code, or why there was none.
fn result(delivery: &DeliveryView) -> String {
    match (delivery.last_code, &delivery.last_error) {
        (None, _) => "-".to_owned(),
        (Some(0), Some(error)) => format!("0 {error}"),
        (Some(code), _) => code.to_string(),
    }
}

/// The last code with the words of its class, such as `503 (5xx, server error)`.
fn last_result(delivery: &DeliveryView) -> String {
    let Some(code) = delivery.last_code else { return String::new() };
    let class = Class::of(code);
    match &delivery.last_error {
        Some(error) => format!("{code} ({}: {error})", class.words()),
        None => format!("{code} ({}, {})", class.as_str(), class.words()),
    }
}

async fn show_curl(session: &mut Session<'_>, id: &str) -> Ended {
    let delivery = session.client().await?.delivery(id).await?;
    let Some(request) = &delivery.request else {
        return Err(Failure::new(ExitCode::No, "its webhook is gone, and the request with it"));
    };
    session.output.text(&curl::command(&delivery.id, request))?;
    let secrets = curl::secrets(request);
    if !secrets.is_empty() {
        session.output.note(&format!("set before you run it: {}", secrets.join(", ")));
    }
    Ok(ExitCode::Done)
}

async fn show(session: &mut Session<'_>, id: &str) -> Ended {
    let delivery = session.client().await?.delivery(id).await?;
    if session.output.json() {
        session.output.object(&delivery)?;
        return Ok(ExitCode::Done);
    }
    let state = match &delivery.hold {
        Some(hold) => format!("{} (waits: {hold})", delivery.state),
        None => delivery.state.clone(),
    };
    let next = delivery.next_attempt_at.as_ref().map_or(String::new(), |next| session.output.time(next));
    let created = session.output.time(&delivery.created_at);
    let dead = delivery.dead_links.filter(|dead| *dead > 0).map_or(String::new(), |dead| format!("{dead} likely"));
    session.output.fields(&[
        ("delivery", (&delivery.id).into()),
        ("event", (&delivery.event_id).into()),
        ("webhook", format!("{} ({})", delivery.webhook_name, delivery.webhook_id).into()),
        ("type", (&delivery.event_type).into()),
        ("url", (&delivery.url).into()),
        ("state", Cell::styled(state, Style::of_state(&delivery.state))),
        ("last result", last_result(&delivery).into()),
        ("created", created.into()),
        ("next attempt", next.into()),
        ("attempts", format!("{} of {}", delivery.attempts_made, delivery.attempts_max).into()),
        ("scan ref", delivery.scan_ref.as_deref().unwrap_or_default().into()),
        ("references", delivery.references.join(", ").into()),
        ("payload", status::bytes(delivery.payload_bytes.into()).into()),
        ("dead links", Cell::styled(dead, Style::Waiting)),
    ])?;
    let attempts = delivery.attempts.unwrap_or_default();
    if !attempts.is_empty() {
        session.output.text("")?;
        timeline(session, &attempts)?;
    }
    if let Some(request) = delivery.request {
        session.output.text(&format!("\n{} {}", request.method, request.url))?;
        for (name, value) in &request.headers {
            session.output.text(&format!("{name}: {}", value.replace('\n', " ")))?;
        }
    }
    if delivery.state == "skipped" {
        session.output.note("the filter that the webhook had then does not match this payload");
    }
    if matches!(delivery.state.as_str(), "failed" | "cancelled" | "skipped") {
        session.output.note(&format!("send it again with `postrider delivery resend {}`", delivery.id));
    }
    Ok(ExitCode::Done)
}

/// The attempts, oldest first, with where their time went.
fn timeline(session: &mut Session<'_>, attempts: &[AttemptView]) -> Result<(), Failure> {
    let columns = [
        Column::fixed("#"),
        Column::fixed("STARTED"),
        Column::fixed("RESULT"),
        Column::fixed("MS"),
        Column::fixed("DNS").goes(4),
        Column::fixed("CONNECT").goes(3),
        Column::fixed("TLS").goes(4),
        Column::fixed("FIRST BYTE").goes(3),
        Column::shrinking("PEER").goes(2),
        Column::fixed("CAUSE").goes(1),
    ];
    let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
    let mut day = String::new();
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for attempt in attempts {
        let started = session.output.time(&attempt.started_at);
        let on = started.get(..10).unwrap_or_default().to_owned();
        let time = session.output.time_of_day(&attempt.started_at);
        let time = if on == day { format!("           {time}") } else { format!("{on} {time}") };
        day = on;
        let (result, style) = match &attempt.error {
            Some(error) => (error.clone(), Style::Bad),
            None if attempt.class == "2xx" => (attempt.code.to_string(), Style::Good),
            None => (attempt.code.to_string(), Style::Bad),
        };
        rows.push(vec![
            attempt.number.to_string().into(),
            time.into(),
            Cell::styled(result, style),
            ms(Some(attempt.duration_ms)).into(),
            ms(attempt.dns_ms).into(),
            ms(attempt.connect_ms).into(),
            ms(attempt.tls_ms).into(),
            ms(attempt.first_byte_ms).into(),
            attempt.peer.as_deref().unwrap_or("-").into(),
            (&attempt.cause).into(),
        ]);
    }
    session.output.rows(&mut Table::new(&columns), &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(items: usize, cursor: Option<&str>) -> PageView<usize> {
        PageView { items: (0..items).collect(), cursor: cursor.map(str::to_owned) }
    }

    #[test]
    fn pages_end_at_the_limit() {
        let mut pages = Pages::new(&Range { limit: 150, ..Range::default() });
        assert_eq!((pages.next(), pages.cursor()), (Some(100), None));
        assert_eq!(pages.take(page(100, Some("a"))).len(), 100);
        assert_eq!((pages.next(), pages.cursor()), (Some(50), Some("a")));
        assert_eq!(pages.take(page(100, Some("b"))).len(), 50);
        assert_eq!(pages.next(), None);
    }

    #[test]
    fn an_empty_page_with_a_cursor_is_not_the_end() {
        let mut pages = Pages::new(&Range { all: true, ..Range::default() });
        assert!(pages.take(page(0, Some("a"))).is_empty());
        assert_eq!(pages.next(), Some(100));
        assert_eq!(pages.take(page(3, None)).len(), 3);
        assert_eq!(pages.next(), None);
    }

    #[test]
    fn a_cursor_that_does_not_move_is_the_end() {
        let mut pages = Pages::new(&Range { all: true, ..Range::default() });
        pages.take(page(1, Some("a")));
        pages.take(page(1, Some("a")));
        assert_eq!(pages.next(), None);
    }
}
