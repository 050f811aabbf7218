//! `postrider webhook create`, and the fields of `webhook set`: from what is written on the command
//! line, and in the files it names, to what the daemon takes.
//!
//! It checks no URL, header or number: the daemon does. Invariant: a secret comes from a file, or
//! the operator is warned.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Ended, ExitCode, Failure, Session, input, is_stdin, parse};

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
    /// Who gets a mail when a delivery fails for good; repeat for more
    #[arg(long = "fail-email", value_name = "ADDRESS")]
    fail_emails: Vec<String>,
    /// Attach the webhook body to it
    #[arg(long, requires = "fail_emails")]
    fail_email_body: bool,
    /// Where to get an OAuth access token before a delivery
    #[arg(long, value_name = "URL")]
    oauth_endpoint: Option<String>,
    /// File with what goes into the Authorization header there; a bare word is sent as 'Bearer WORD'
    #[arg(long, value_name = "FILE", requires = "oauth_endpoint")]
    oauth_token_file: Option<PathBuf>,
    /// File with the request that is sent there: a form, or JSON
    #[arg(long, value_name = "FILE", requires = "oauth_endpoint")]
    oauth_request_file: Option<PathBuf>,
    /// File with certificates (PEM) that are trusted for this receiver besides the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// File with the certificate chain (PEM) to show to the receiver
    #[arg(long, value_name = "FILE", requires = "client_key_file")]
    client_certificate_file: Option<PathBuf>,
    /// File with its key (PEM)
    #[arg(long, value_name = "FILE", requires = "client_certificate_file")]
    client_key_file: Option<PathBuf>,
    /// Only payloads where this holds: POINTER=JSON, POINTER (is there) or !POINTER (is absent); repeat for and
    #[arg(long = "filter", value_name = "CONDITION")]
    filters: Vec<String>,
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
    /// The most attempts begun in a second
    #[arg(long, value_name = "N")]
    rate_per_second: Option<u64>,
    /// One delivery at a time, in order of acceptance; one that fails holds up those behind it
    #[arg(long)]
    ordered: bool,
    /// Make no deliveries yet
    #[arg(long)]
    inactive: bool,
}

pub(super) async fn run(session: &mut Session<'_>, arguments: &Create) -> Ended {
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
    only_one_from_stdin(arguments)?;
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
    given("failure_email", failure_email(arguments));
    given("oauth", oauth(arguments)?);
    given("tls", tls(arguments)?);
    let filter: Vec<Value> = arguments
        .filters
        .iter()
        .map(|text| parse::condition(text))
        .collect::<Result<_, _>>()
        .map_err(Failure::usage)?;
    given("filter", (!filter.is_empty()).then(|| filter.into()));
    let mut retry = Map::new();
    let seconds = |duration: Duration| Value::from(duration.as_secs());
    retry.extend(arguments.retry_count.map(|count| ("count".to_owned(), count.into())));
    retry.extend(arguments.retry_interval.map(|interval| ("interval_seconds".to_owned(), seconds(interval))));
    retry.extend(arguments.backoff.clone().map(|backoff| ("backoff".to_owned(), backoff.into())));
    given("retry", (!retry.is_empty()).then(|| retry.into()));
    given("timeout_seconds", arguments.timeout.map(seconds));
    given("max_in_flight", arguments.max_in_flight.map(Value::from));
    given("rate_per_second", arguments.rate_per_second.map(Value::from));
    given("ordered", arguments.ordered.then_some(Value::Bool(true)));
    given("active", arguments.inactive.then_some(Value::Bool(false)));
    Ok(Value::Object(body))
}

fn only_one_from_stdin(arguments: &Create) -> Result<(), Failure> {
    let files = arguments
        .secret_header_file
        .iter()
        .chain(&arguments.signing_key_file)
        .chain(&arguments.oauth_token_file)
        .chain(&arguments.oauth_request_file)
        .chain(&arguments.client_key_file);
    if files.filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::usage("only one file can be standard input"));
    }
    Ok(())
}

fn failure_email(arguments: &Create) -> Option<Value> {
    let to = &arguments.fail_emails;
    (!to.is_empty()).then(|| json!({"to": to, "include_body": arguments.fail_email_body}))
}

fn oauth(arguments: &Create) -> Result<Option<Value>, Failure> {
    let Some(endpoint) = &arguments.oauth_endpoint else { return Ok(None) };
    let mut oauth = json!({"endpoint": endpoint});
    for (name, file) in [("token", &arguments.oauth_token_file), ("request", &arguments.oauth_request_file)] {
        if let Some(file) = file {
            oauth[name] = input::secret(file)?.expose().into();
        }
    }
    Ok(Some(oauth))
}

fn tls(arguments: &Create) -> Result<Option<Value>, Failure> {
    let mut tls = Map::new();
    let files = [
        ("ca", &arguments.ca_file),
        ("client_certificate", &arguments.client_certificate_file),
        ("client_key", &arguments.client_key_file),
    ];
    for (name, file) in files {
        if let Some(file) = file {
            tls.insert(name.to_owned(), input::secret(file)?.expose().into());
        }
    }
    Ok((!tls.is_empty()).then(|| tls.into()))
}

/// `FIELD=VALUE` pairs as one object. `FIELD=@FILE` takes the value from a file, which is the way
/// for secrets: arguments can be seen in the process list.
pub(super) fn fields(pairs: &[String]) -> Result<Value, Failure> {
    let mut object = Map::new();
    for pair in pairs {
        let (field, value) = match parse::file_of(pair) {
            Some((field, file)) => (field, Value::from(input::secret(Path::new(file))?.expose())),
            None => parse::field(pair).map_err(Failure::usage)?,
        };
        parse::insert(&mut object, field, value).map_err(Failure::usage)?;
    }
    Ok(Value::Object(object))
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
