//! One value: from what is written to a checked Rust value.
//!
//! Each kind of the schema has its rule here. Nothing here knows which key it is about, opens
//! a file, resolves a name or looks at a second key.
//!
//! Invariant: a [`Value`] that was returned satisfies everything its kind promises, so the rest
//! of the program never checks a configuration value again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::nearest::nearest;
use super::problem::{Fault, clipped};
use super::schema::{Kind, LIST_LENGTH_MAX, SOCKET_PATH_BYTES_MAX, TEXT_BYTES_MAX};
use super::url::{self, BaseUrl, SmtpUrl};

/// A checked value. Each kind yields always the same variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Integer(u64),
    Boolean(bool),
    Word(&'static str),
    Path(Option<PathBuf>),
    Listen(Option<SocketAddr>),
    Networks(Vec<IpNet>),
    Text(Option<String>),
    Smtp(Option<SmtpUrl>),
    BaseUrl(Option<BaseUrl>),
}

/// Faults with the bytes of the file they are about.
pub(super) type Faults = Vec<(Range<usize>, Fault)>;

/// Checks a value against its kind. Relative paths are taken from `base`.
pub(super) fn check(kind: Kind, value: &Spanned<DeValue<'_>>, base: &Path) -> Result<Value, Faults> {
    let here = |fault: Fault| vec![(value.span(), with_context(fault, kind, value.get_ref()))];
    match (kind, value.get_ref()) {
        (Kind::Integer { min, max }, DeValue::Integer(integer)) => {
            let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
            number
                .filter(|number| (min..=max).contains(number))
                .map(Value::Integer)
                .ok_or_else(|| here(Fault::new("out of range")))
        }
        (Kind::Boolean, DeValue::Boolean(boolean)) => Ok(Value::Boolean(*boolean)),
        (Kind::Networks, DeValue::Array(entries)) => {
            if entries.len() > LIST_LENGTH_MAX {
                return Err(here(Fault::new(format!("more than {LIST_LENGTH_MAX} entries"))));
            }
            networks(entries.iter())
        }
        (Kind::Integer { .. } | Kind::Boolean | Kind::Networks, _) => Err(here(Fault::new("wrong type"))),
        (_, DeValue::String(text)) => string(kind, text, base).map_err(here),
        _ => Err(here(Fault::new("wrong type"))),
    }
}

/// Adds what was found and what is allowed.
fn with_context(fault: Fault, kind: Kind, value: &DeValue<'_>) -> Fault {
    Fault { found: Some(found(kind, value)), allowed: Some(kind.allowed()), ..fault }
}

fn found(kind: Kind, value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => {
            let text = if matches!(kind, Kind::SmtpUrl | Kind::BaseUrl) { url::masked(text) } else { text.to_string() };
            format!("the string \"{}\"", clipped(&text))
        }
        DeValue::Integer(integer) => clipped(&integer.to_string()),
        DeValue::Float(float) => clipped(&float.to_string()),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn networks<'a, 'i: 'a>(entries: impl Iterator<Item = &'a Spanned<DeValue<'i>>>) -> Result<Value, Faults> {
    let mut networks = Vec::new();
    let mut faults = Vec::new();
    for entry in entries {
        let network = match entry.get_ref() {
            DeValue::String(text) => network(text).ok_or("not a network"),
            _ => Err("wrong type"),
        };
        match network {
            Ok(network) => networks.push(network),
            Err(text) => faults.push((entry.span(), with_context(Fault::new(text), Kind::Networks, entry.get_ref()))),
        }
    }
    if faults.is_empty() { Ok(Value::Networks(networks)) } else { Err(faults) }
}

fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    // "10.1.2.3/8" means 10.0.0.0/8; kept in the short form so that it is shown that way.
    Some(network.trunc())
}

fn string(kind: Kind, text: &str, base: &Path) -> Result<Value, Fault> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Fault::new(format!("longer than {TEXT_BYTES_MAX} bytes")));
    }
    if text.contains(char::is_control) {
        return Err(Fault::new("a control character"));
    }
    if let Kind::OneOf(words) = kind {
        let word = words.iter().find(|word| **word == text).ok_or_else(|| Fault {
            nearest: nearest(text, words.iter().copied()).map(str::to_owned),
            ..Fault::new("unknown word")
        })?;
        return Ok(Value::Word(word));
    }
    let none = text.is_empty();
    Ok(match kind {
        Kind::Path | Kind::SocketPath if none => Value::Path(None),
        Kind::Path => Value::Path(Some(path(text, base)?)),
        Kind::SocketPath => Value::Path(Some(socket_path(text, base)?)),
        Kind::Listen { optional: true } if none => Value::Listen(None),
        Kind::Listen { .. } => Value::Listen(Some(listen(text)?)),
        Kind::HeaderName => Value::Text(Some(header_name(text)?)),
        Kind::SmtpUrl if none => Value::Smtp(None),
        Kind::SmtpUrl => Value::Smtp(Some(SmtpUrl::parse(text)?)),
        Kind::BaseUrl if none => Value::BaseUrl(None),
        Kind::BaseUrl => Value::BaseUrl(Some(BaseUrl::parse(text)?)),
        _ if none => Value::Text(None),
        Kind::HeaderValue => Value::Text(Some(header_value(text)?)),
        Kind::MailAddress => Value::Text(Some(mail_address(text)?)),
        Kind::Group => Value::Text(Some(group(text)?)),
        Kind::Text => Value::Text(Some(text.to_owned())),
        Kind::Integer { .. } | Kind::Boolean | Kind::OneOf(_) | Kind::Networks => {
            return Err(Fault::new("wrong type"));
        }
    })
}

fn path(text: &str, base: &Path) -> Result<PathBuf, Fault> {
    if text == "~" || text.starts_with("~/") {
        return Err(Fault::new("\"~\" is not expanded here; write the whole path"));
    }
    Ok(base.join(text))
}

fn socket_path(text: &str, base: &Path) -> Result<PathBuf, Fault> {
    let path = path(text, base)?;
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(Fault::new("too long for the address of a Unix socket"));
    }
    Ok(path)
}

fn listen(text: &str) -> Result<SocketAddr, Fault> {
    if let Some(port) = text.strip_prefix("localhost:")
        && let Ok(port) = port.parse()
    {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| {
        Fault::new(if text.parse::<IpAddr>().is_ok() { "the port is missing" } else { "not an IP address with a port" })
    })
}

/// Names that have a meaning of their own in a request, so cannot carry one of ours. Lower case.
const RESERVED_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

fn header_name(text: &str) -> Result<String, Fault> {
    const BYTES_MAX: usize = 128;
    let lower = text.to_ascii_lowercase();
    if text.len() > BYTES_MAX || http::HeaderName::from_bytes(lower.as_bytes()).is_err() {
        return Err(Fault::new("not the name of an HTTP header"));
    }
    if RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with("postrider-") {
        return Err(Fault::new("this header has another use already"));
    }
    Ok(text.to_owned())
}

fn header_value(text: &str) -> Result<String, Fault> {
    const BYTES_MAX: usize = 256;
    if text.len() > BYTES_MAX {
        return Err(Fault::new(format!("longer than {BYTES_MAX} bytes")));
    }
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) || text.trim() != text {
        return Err(Fault::new("not the value of an HTTP header"));
    }
    Ok(text.to_owned())
}

fn mail_address(text: &str) -> Result<String, Fault> {
    const BYTES_MAX: usize = 320;
    let address = match text.strip_suffix('>') {
        Some(named) => named.rsplit_once('<').map_or("", |(_, address)| address),
        None => text,
    };
    let (user, host) = address.rsplit_once('@').unwrap_or_default();
    let odd = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '@' | ',' | ';' | '"' | '(' | ')');
    let sound = |part: &str| !part.is_empty() && !part.contains(odd);
    if text.len() > BYTES_MAX || !sound(user) || !sound(host) {
        return Err(Fault::new("not a mail address"));
    }
    Ok(text.to_owned())
}

fn group(text: &str) -> Result<String, Fault> {
    const BYTES_MAX: usize = 255;
    if text.len() > BYTES_MAX || text.starts_with('-') || text.contains([':', ',', '/']) || text.trim() != text {
        return Err(Fault::new("not the name of a group"));
    }
    Ok(text.to_owned())
}
