//! From the configuration file to what each part wants to know. Pure, apart from looking up a group
//! and the name of this machine.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::ServeError;
use super::sockets::Reach;
use crate::admin::server::{AdminOptions, Defaults};
use crate::alerts::AlertOptions;
use crate::config::{Auth, Config, Email, SchemaCheck, Tls, UnknownTypes};
use crate::dispatch::{DispatchOptions, WireNames};
use crate::domain::address::AddressPolicy;
use crate::domain::email::check_address;
use crate::domain::retry::{Backoff, RetryPlan};
use crate::domain::time::Timestamp;
use crate::egress::{EgressOptions, Names, Proxy};
use crate::http::Limits;
use crate::ingest::{IngestOptions, SchemaMode};
use crate::mail::Mailer;
use crate::mail::smtp::{Encryption, Smtp};
use crate::maintenance::{Floor, MaintenanceOptions};
use crate::spans::SpanOptions;

/// The admin socket's peers are trusted, but may hang all the same.
pub(super) const ADMIN_LIMITS: Limits = Limits {
    connections_max: 64,
    head_bytes_max: 16 << 10,
    head_time: Duration::from_secs(60),
    body_time: Duration::from_secs(10),
    // Who watches and leaves is not to be waited for.
    answers_half_closed: false,
};

/// Whoever scrapes comes every few seconds; anybody who reaches the port may.
pub(super) const METRICS_LIMITS: Limits = Limits {
    connections_max: 16,
    head_bytes_max: 8 << 10,
    // A connection is kept between two scrapes.
    head_time: Duration::from_secs(90),
    body_time: Duration::from_secs(5),
    answers_half_closed: true,
};

pub(super) fn egress(config: &Config) -> EgressOptions {
    EgressOptions {
        policy: AddressPolicy::new(config.egress.allow.iter().copied()),
        allow_http: config.egress.allow_http,
        ca_file: config.egress.ca_file.clone(),
        proxy: config.egress.proxy.as_ref().and_then(|proxy| Proxy::new(proxy.with_password())),
        names: Names::System,
    }
}

/// Where spans go, if anywhere.
pub(super) fn spans(config: &Config) -> Option<SpanOptions> {
    let collector = config.tracing.collector.as_ref()?.with_password();
    Some(SpanOptions {
        collector: collector.clone(),
        percent: u8::try_from(config.tracing.percent).unwrap_or(100),
        ca_file: config.egress.ca_file.clone(),
    })
}

fn names(config: &Config) -> Result<WireNames, ServeError> {
    let name = |text: &str| {
        let name = HeaderName::from_bytes(text.as_bytes());
        name.map_err(|_| ServeError::Unusable(format!("{text:?} is not a header name")))
    };
    let agent = &config.delivery.user_agent;
    Ok(WireNames {
        body_signature: name(&config.signature.body_header)?,
        event_type: name(&config.signature.event_type_header)?,
        user_agent: HeaderValue::from_str(agent)
            .map_err(|_| ServeError::Unusable(format!("{agent:?} (delivery.user_agent) is not a header value")))?,
    })
}

pub(super) fn dispatch(config: &Config) -> Result<DispatchOptions, ServeError> {
    let in_flight_max = usize::try_from(config.delivery.max_in_flight).unwrap_or(usize::MAX);
    Ok(DispatchOptions { in_flight_max, names: names(config)? })
}

pub(super) fn ingest(config: &Config, reach: &Reach) -> IngestOptions {
    let host = |address: &SocketAddr| match address.ip() {
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    };
    IngestOptions {
        token_required: config.ingest.auth == Auth::Token,
        body_bytes_max: usize::try_from(config.ingest.max_body_bytes).unwrap_or(usize::MAX),
        accept_unknown_types: config.ingest.unknown_types == UnknownTypes::Accept,
        schema: match config.ingest.schema {
            SchemaCheck::Off => SchemaMode::Off,
            SchemaCheck::Warn => SchemaMode::Warn,
            SchemaCheck::Reject => SchemaMode::Reject,
        },
        hosts: reach.ports.iter().map(host).collect(),
        limits: Limits {
            connections_max: usize::try_from(config.ingest.max_connections).unwrap_or(usize::MAX),
            head_bytes_max: 16 << 10,
            head_time: Duration::from_secs(5),
            body_time: Duration::from_secs(10),
            // Who posts like that has posted, and must hear that it was accepted.
            answers_half_closed: true,
        },
    }
}

/// How many descriptors are worth having: connections, receivers, and two for each name that is being looked up.
const DESCRIPTORS_WANTED: u64 = 65_536;

/// Takes as many descriptors as the system permits. The usual limit of 1,024 is there for programs that use `select`.
pub(super) fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS_WANTED, |most| most.min(DESCRIPTORS_WANTED));
    if limit.current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

pub(super) fn floor(config: &Config) -> Floor {
    let percent = u8::try_from(config.retention.min_free_percent).unwrap_or(u8::MAX);
    Floor { bytes: config.retention.min_free_bytes, percent }
}

pub(super) fn maintenance(config: &Config) -> MaintenanceOptions {
    let days = u64::from(config.retention.days);
    MaintenanceOptions { retention: Duration::from_hours(24 * days), floor: floor(config) }
}

/// The name of this machine, as far as it can be one on the network.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if check_address(&format!("postrider@{name}")).is_ok() && name.is_ascii() { name } else { "localhost".to_owned() }
}

fn smtp(email: &Email, ca_file: Option<&Path>, host: &str) -> Option<Smtp> {
    let server = email.smtp.as_ref()?;
    Some(Smtp {
        host: server.host.clone(),
        port: server.port,
        encryption: match email.tls() {
            Tls::Implicit => Encryption::Implicit,
            Tls::Required => Encryption::Required,
            Tls::Opportunistic => Encryption::Opportunistic,
            Tls::Off => Encryption::Off,
        },
        hello: host.to_owned(),
        login: email.username.clone().zip(email.password_file.clone()),
        ca_file: ca_file.map(Path::to_owned),
        time_max: Smtp::TIME_MAX,
    })
}

pub(super) fn alerts(config: &Config) -> AlertOptions {
    let (email, host) = (&config.email, host_name());
    let smtp = smtp(email, config.egress.ca_file.as_deref(), &host);
    AlertOptions {
        mailer: smtp.map(|smtp| Arc::new(smtp) as Arc<dyn Mailer>),
        from: email.from.clone().unwrap_or_else(|| format!("postrider@{host}")),
        digest: email.digest,
        per_hour: email.max_per_hour,
        host,
    }
}

pub(super) fn admin(
    config: &Config,
    reach: &Reach,
    config_file: Option<&Path>,
    read_at: Timestamp,
) -> Result<AdminOptions, ServeError> {
    let delivery = &config.delivery;
    let defaults = Defaults {
        retry: RetryPlan {
            count: u16::try_from(delivery.retry_count).unwrap_or(RetryPlan::COUNT_MAX),
            interval: delivery.retry_interval,
            backoff: Backoff::Fixed,
            interval_max: Duration::from_hours(1).max(delivery.retry_interval),
        },
        timeout: delivery.timeout,
        max_in_flight: u16::try_from(delivery.per_webhook_in_flight).unwrap_or(u16::MAX),
        accept_unknown_types: config.ingest.unknown_types == UnknownTypes::Accept,
    };
    Ok(AdminOptions {
        defaults,
        reserved_headers: vec![config.signature.body_header.clone(), config.signature.event_type_header.clone()],
        ingest_listen: reach.listen().to_string(),
        metrics_listen: reach.metrics.map(|address| address.to_string()),
        ingest_socket: reach.socket.as_ref().map(|path| path.display().to_string()),
        config_file: config_file.map(|path| path.display().to_string()),
        config_read_at: config_file.map(|_| read_at),
        retention_days: config.retention.days.into(),
        trial: config.built_in_trial,
        floor: floor(config),
        names: names(config)?,
    })
}

/// Keys whose change only a start can take over.
pub(super) fn needs_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut compare = |same: bool, key| {
        if !same {
            keys.push(key);
        }
    };
    compare(before.state_dir == after.state_dir, "state_dir");
    compare(before.ingest.listen == after.ingest.listen, "ingest.listen");
    compare(before.ingest.socket == after.ingest.socket, "ingest.socket");
    compare(before.ingest.max_connections == after.ingest.max_connections, "ingest.max_connections");
    compare(before.admin == after.admin, "[admin]");
    compare(before.secrets == after.secrets, "[secrets]");
    compare(before.metrics == after.metrics, "metrics.listen");
    compare(before.log.format == after.log.format, "log.format");
    keys
}

/// The id of a group: its name in the system's list, or the number itself.
pub(super) fn group_id(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? == name { fields.nth(1)?.parse().ok() } else { None }
    })
}

/// What somebody who has just started it for the first time should read.
pub(super) fn welcome(
    program: &str,
    listen: SocketAddr,
    state_dir: &Path,
    socket: &Path,
    token_file: &Path,
    trial: bool,
) -> String {
    let mut text = format!(
        "postrider {} accepts events at http://{listen}/v1/events/TYPE\n\
         \x20 token   {}\n\
         \x20 state   {}\n\
         \x20 socket  {}\n",
        env!("CARGO_PKG_VERSION"),
        token_file.display(),
        state_dir.display(),
        socket.display(),
    );
    // Writing to a String can not fail.
    if trial {
        let _ = writeln!(
            text,
            "There is no configuration file, so receivers on this machine (127.0.0.0/8, ::1) are permitted."
        );
    }
    let token = token_file.display();
    let url = if trial { "http://127.0.0.1:8080/" } else { "https://receiver.example.com/" };
    let _ = write!(
        text,
        "To try it, in another terminal:\n\
         \x20 {program} webhook create --name test --url {url} --event-type '*'\n\
         \x20 curl http://{listen}/v1/events/AML_MONITORING -H \"Authorization: Bearer $(cat '{token}')\" \
         -H 'Content-Type: application/json' -d '{{\"scanRef\":\"demo-1\"}}'\n\
         \x20 {program} delivery list --ref demo-1\n\
         \x20 {program}   # the terminal UI\n"
    );
    text
}
