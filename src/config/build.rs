//! From checked values to the typed [`Config`], defaults filled in.
//!
//! It judges nothing: values were checked one by one before, rules between keys come after.
//!
//! Invariant: which value goes into which field depends on the schema only, never on what a
//! user wrote; a mismatch would already fail while building the defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::model::{
    Admin, Auth, Config, Delivery, Egress, Email, Ingest, Log, LogFormat, LogLevel, Metrics, Retention, SchemaCheck,
    Secrets, Setting, Signature, SmtpServer, StartTls, Tracing, UnknownTypes,
};
use super::raw::Raw;
use super::schema;
use super::url::BaseUrl;
use super::value::{self, Value};

/// Every key from the files or from the schema's defaults.
pub(super) fn build(raw: &Raw) -> Config {
    let values = Values(raw);
    Config {
        state_dir: values.path("", "state_dir"),
        ingest: ingest(&values),
        admin: Admin {
            socket: values.path("admin", "socket"),
            group: values.text("admin", "group"),
            readonly_group: values.text("admin", "readonly_group"),
        },
        delivery: delivery(&values),
        egress: Egress {
            allow: values.networks("egress", "allow"),
            allow_http: values.boolean("egress", "allow_http"),
            proxy: values.base_url("egress", "proxy"),
            ca_file: values.path("egress", "ca_file"),
        },
        retention: Retention {
            days: values.count("retention", "days"),
            min_free_bytes: values.integer("retention", "min_free_bytes"),
            min_free_percent: values.count("retention", "min_free_percent"),
        },
        email: email(&values),
        signature: Signature {
            body_header: values.text("signature", "body_header").unwrap_or_default(),
            event_type_header: values.text("signature", "event_type_header").unwrap_or_default(),
        },
        secrets: Secrets { key_file: values.path("secrets", "key_file") },
        log: Log {
            level: values.word("log", "level", LogLevel::from_word),
            format: values.word("log", "format", LogFormat::from_word),
        },
        metrics: Metrics { listen: values.listen("metrics", "listen") },
        tracing: Tracing {
            collector: values.base_url("tracing", "collector"),
            percent: values.count("tracing", "percent"),
        },
        built_in_trial: false,
        warnings: Vec::new(),
        settings: settings(raw),
        files: Vec::new(),
    }
}

fn ingest(values: &Values<'_>) -> Ingest {
    Ingest {
        listen: values.listen("ingest", "listen").unwrap_or_else(|| unreachable!("ingest.listen is not optional")),
        socket: values.path("ingest", "socket"),
        auth: values.word("ingest", "auth", Auth::from_word),
        max_body_bytes: values.integer("ingest", "max_body_bytes"),
        max_connections: values.count("ingest", "max_connections"),
        unknown_types: values.word("ingest", "unknown_types", UnknownTypes::from_word),
        schema: values.word("ingest", "schema", SchemaCheck::from_word),
    }
}

fn delivery(values: &Values<'_>) -> Delivery {
    let max_in_flight = values.count("delivery", "max_in_flight");
    let per_webhook = values.count("delivery", "per_webhook_in_flight");
    // Who only lowers the total must not have to lower the default share as well.
    let written = values.0.get("delivery", "per_webhook_in_flight").is_some();
    Delivery {
        timeout: values.seconds("delivery", "timeout_seconds"),
        max_in_flight,
        per_webhook_in_flight: if written { per_webhook } else { per_webhook.min(max_in_flight) },
        user_agent: values
            .text("delivery", "user_agent")
            .unwrap_or_else(|| concat!("postrider/", env!("CARGO_PKG_VERSION")).to_owned()),
        retry_count: values.count("delivery", "retry_count"),
        retry_interval: values.seconds("delivery", "retry_interval_seconds"),
    }
}

fn email(values: &Values<'_>) -> Email {
    let smtp = match values.get("email", "smtp") {
        Value::Smtp(server) => server,
        other => unreachable!("email.smtp is a mail server, not {other:?}"),
    };
    let smtp = smtp.map(|url| SmtpServer {
        host: url.host,
        port: url.port,
        implicit_tls: url.implicit_tls,
        url_username: url.username,
    });
    let url_username = smtp.as_ref().and_then(|server| server.url_username.clone());
    Email {
        username: values.text("email", "username").or(url_username),
        smtp,
        starttls: values.word("email", "starttls", StartTls::from_word),
        from: values.text("email", "from"),
        password_file: values.path("email", "password_file"),
        digest: values.seconds("email", "digest_minutes") * 60,
        max_per_hour: values.count("email", "max_per_hour"),
    }
}

fn settings(raw: &Raw) -> Vec<Setting> {
    let keys = schema::SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| (section.name, key)));
    keys.map(|(section, key)| {
        let written = raw.get(section, key.name);
        Setting {
            key: schema::dotted(section, key.name),
            value: written.map_or_else(|| key.default.to_owned(), |written| written.text.clone()),
            place: written.map(|written| written.place.clone()),
        }
    })
    .collect()
}

/// Values by name, as the type that their kind yields.
///
/// A name that is not in the schema, or of another kind, is a mistake in this file. It cannot
/// depend on what a user wrote, and the test of the defaults runs through every one of them.
struct Values<'a>(&'a Raw);

impl Values<'_> {
    fn get(&self, section: &str, key: &str) -> Value {
        if let Some(written) = self.0.get(section, key) {
            return written.value.clone();
        }
        schema::find(section, key)
            .and_then(|found| {
                let default = DeValue::parse(found.default).ok()?;
                value::check(found.kind, &default, Path::new("")).ok()
            })
            .unwrap_or_else(|| unreachable!("{section}.{key} is in the schema with a valid default"))
    }

    fn integer(&self, section: &str, key: &str) -> u64 {
        match self.get(section, key) {
            Value::Integer(integer) => integer,
            other => unreachable!("{section}.{key} is an integer, not {other:?}"),
        }
    }

    /// An integer whose range fits into 32 bits.
    fn count(&self, section: &str, key: &str) -> u32 {
        u32::try_from(self.integer(section, key)).unwrap_or(u32::MAX)
    }

    fn seconds(&self, section: &str, key: &str) -> Duration {
        Duration::from_secs(self.integer(section, key))
    }

    fn boolean(&self, section: &str, key: &str) -> bool {
        match self.get(section, key) {
            Value::Boolean(boolean) => boolean,
            other => unreachable!("{section}.{key} is a boolean, not {other:?}"),
        }
    }

    fn word<T>(&self, section: &str, key: &str, from_word: impl Fn(&str) -> Option<T>) -> T {
        let value = self.get(section, key);
        let word = if let Value::Word(word) = value { from_word(word) } else { None };
        word.unwrap_or_else(|| unreachable!("{section}.{key} is one of the words of its enum, not {value:?}"))
    }

    fn path(&self, section: &str, key: &str) -> Option<PathBuf> {
        match self.get(section, key) {
            Value::Path(path) => path,
            other => unreachable!("{section}.{key} is a path, not {other:?}"),
        }
    }

    fn text(&self, section: &str, key: &str) -> Option<String> {
        match self.get(section, key) {
            Value::Text(text) => text,
            other => unreachable!("{section}.{key} is text, not {other:?}"),
        }
    }

    fn listen(&self, section: &str, key: &str) -> Option<SocketAddr> {
        match self.get(section, key) {
            Value::Listen(address) => address,
            other => unreachable!("{section}.{key} is an address, not {other:?}"),
        }
    }

    fn networks(&self, section: &str, key: &str) -> Vec<IpNet> {
        match self.get(section, key) {
            Value::Networks(networks) => networks,
            other => unreachable!("{section}.{key} is a list of networks, not {other:?}"),
        }
    }

    fn base_url(&self, section: &str, key: &str) -> Option<BaseUrl> {
        match self.get(section, key) {
            Value::BaseUrl(proxy) => proxy,
            other => unreachable!("{section}.{key} is a URL, not {other:?}"),
        }
    }
}
