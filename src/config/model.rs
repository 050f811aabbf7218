//! The typed configuration: what the rest of the program holds and passes on.
//!
//! Plain data. How it comes from files is in the modules beside it; what it leads to is decided
//! by whoever holds it.
//!
//! Invariant: ranges and forms are those of [`super::schema`]; where a key may be empty, the
//! field is an `Option` or already carries what empty stands for.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::problem::{Place, Problem};
use super::url::BaseUrl;

/// The whole configuration, every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where everything durable lives, if a file says so. See [`paths::state_dir`].
    pub state_dir: Option<PathBuf>,
    /// How apps hand in events.
    pub ingest: Ingest,
    /// The admin socket.
    pub admin: Admin,
    /// How events are sent.
    pub delivery: Delivery,
    /// Where deliveries may go.
    pub egress: Egress,
    /// How long deliveries are kept.
    pub retention: Retention,
    /// Mail about failures.
    pub email: Email,
    /// Names of headers.
    pub signature: Signature,
    /// Secrets at rest.
    pub secrets: Secrets,
    /// Logging.
    pub log: Log,
    /// The metrics port.
    pub metrics: Metrics,
    /// `[tracing]`
    pub tracing: Tracing,
    /// Whether there was no file at all, so that someone is trying it out: loopback receivers
    /// are allowed then.
    pub built_in_trial: bool,
    /// What is allowed but risky.
    pub warnings: Vec<Problem>,
    /// Every key with its value and where it was written, in the order of the schema.
    pub settings: Vec<Setting>,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// One key as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`.
    pub key: String,
    /// TOML text, passwords left out.
    pub value: String,
    /// Where it is written; `None` is the default.
    pub place: Option<Place>,
}

/// `[ingest]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// Address of the HTTP port; port 0 is any free one.
    pub listen: SocketAddr,
    /// A Unix socket beside it.
    pub socket: Option<PathBuf>,
    /// Whether tokens are asked for.
    pub auth: Auth,
    /// The largest body in bytes, 1 KiB to 16 MiB.
    pub max_body_bytes: u64,
    /// Connections open at once, 1 to 65535.
    pub max_connections: u32,
    /// What happens to events of types that are not in the catalog.
    pub unknown_types: UnknownTypes,
    /// What happens to payloads that do not fit their schema.
    pub schema: SchemaCheck,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Path of the socket, if a file says so. See [`paths::server_socket`].
    pub socket: Option<PathBuf>,
    /// The group (name or number) that may do everything.
    pub group: Option<String>,
    /// The group that may look but not change.
    pub readonly_group: Option<String>,
}

/// `[delivery]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Total deadline of an attempt, 1 to 120 s.
    pub timeout: Duration,
    /// Attempts at once, 1 to 10000.
    pub max_in_flight: u32,
    /// Attempts of one webhook at once, 1 to `max_in_flight`.
    pub per_webhook_in_flight: u32,
    /// The whole User-Agent header.
    pub user_agent: String,
    /// Retries of a new webhook, 0 to 100.
    pub retry_count: u32,
    /// Spacing of the retries of a new webhook, 1 s to a day.
    pub retry_interval: Duration,
}

/// `[egress]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Networks that may be dialled although they are not globally routable.
    pub allow: Vec<IpNet>,
    /// Whether receivers may have `http://` URLs.
    pub allow_http: bool,
    /// A proxy for all deliveries.
    pub proxy: Option<BaseUrl>,
    /// A PEM file with more certificate authorities.
    pub ca_file: Option<PathBuf>,
}

/// `[retention]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Days after the last attempt, 1 to 3650.
    pub days: u32,
    /// Free bytes below which no event is taken.
    pub min_free_bytes: u64,
    /// The same in per cent of the disk, 0 to 50; the larger of the two counts.
    pub min_free_percent: u32,
}

/// `[email]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The mail server; `None` sends no mail.
    pub smtp: Option<SmtpServer>,
    /// The key as written; what is to be done is [`Email::tls`].
    pub starttls: StartTls,
    /// The sender; `None` is `postrider@HOSTNAME`.
    pub from: Option<String>,
    /// The user, from the key or from the URL; always together with `password_file`.
    pub username: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// How long further failures are collected, 1 minute to a day.
    pub digest: Duration,
    /// Mails an hour, 1 to 1000.
    pub max_per_hour: u32,
}

/// A mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpServer {
    /// Name or address, without brackets.
    pub host: String,
    /// Default 25, or 465 with `smtps://`.
    pub port: u16,
    /// Whether TLS comes first (`smtps://`).
    pub implicit_tls: bool,
    pub(super) url_username: Option<String>,
}

/// `[signature]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// A valid header name in the case it was written.
    pub body_header: String,
    /// A valid header name in the case it was written.
    pub event_type_header: String,
}

/// `[secrets]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// The master key's file; `None` is `master.key` in the state directory.
    pub key_file: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level shown.
    pub level: LogLevel,
    /// How lines look.
    pub format: LogFormat,
}

/// `[tracing]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Where spans go.
    pub collector: Option<BaseUrl>,
    /// Of a hundred events that came without a trace, how many begin one: 0 to 100.
    pub percent: u32,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Address of the port, if one is wanted.
    pub listen: Option<SocketAddr>,
}

/// An enum whose variants are the words of a key; the schema holds the same words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The word in the file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            pub(super) fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words!(
    /// `ingest.auth`
    Auth {
        /// Every request needs a token.
        Token = "token",
        /// Everybody who reaches the port may post.
        None = "none",
    }
);
words!(
    /// `ingest.unknown_types`
    UnknownTypes {
        /// 422.
        Reject = "reject",
        /// Taken like any other.
        Accept = "accept",
    }
);
words!(
    /// `ingest.schema`
    SchemaCheck {
        /// Payloads are not looked at.
        Off = "off",
        /// Taken, and counted.
        Warn = "warn",
        /// 422.
        Reject = "reject",
    }
);
words!(
    /// `email.starttls`
    StartTls {
        /// No mail without TLS, except to a server on this machine.
        Required = "required",
        /// TLS if the server offers it.
        Opportunistic = "opportunistic",
        /// Never.
        Off = "off",
    }
);
words!(
    /// `log.level`
    LogLevel {
        /// Something is broken.
        Error = "error",
        /// Something needs attention.
        Warn = "warn",
        /// What an operator wants to know.
        Info = "info",
        /// For finding faults.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
);
words!(
    /// `log.format`
    LogFormat {
        /// Journald if standard error is the journal, else text.
        Auto = "auto",
        /// Priority prefixes, no timestamps.
        Journald = "journald",
        /// Lines with timestamps.
        Text = "text",
        /// A JSON object a line.
        Json = "json",
    }
);

/// How a connection to the mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte.
    Implicit,
    /// STARTTLS or nothing.
    Required,
    /// STARTTLS if offered.
    Opportunistic,
    /// None.
    Off,
}

impl Email {
    /// What the URL and `starttls` come to.
    #[must_use]
    pub fn tls(&self) -> Tls {
        let server = self.smtp.as_ref();
        match self.starttls {
            _ if server.is_some_and(|server| server.implicit_tls) => Tls::Implicit,
            // The mail server of a fresh machine has no certificate that could be verified.
            StartTls::Required if server.is_some_and(SmtpServer::is_local) => Tls::Opportunistic,
            StartTls::Required => Tls::Required,
            StartTls::Opportunistic => Tls::Opportunistic,
            StartTls::Off => Tls::Off,
        }
    }
}

impl SmtpServer {
    /// Whether the server is on this machine, so that nothing crosses a network.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}
