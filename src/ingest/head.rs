//! What the head of a request says: where it goes, that no browser sent it, what its body is, and what belongs to the event.
//!
//! Pure, and does not look at the body. Its invariant: a header that is there twice where once is meant is never half believed.

use http::{HeaderMap, header};

use super::Rejection;
use crate::domain::event::Idempotency;
use crate::domain::trace_context::TraceContext;

pub(super) enum Route {
    Typed(String),
    Any,
    Batch,
    Health,
}

impl Route {
    pub(super) fn of(path: &str) -> Result<Self, Rejection> {
        match path {
            "/v1/events" => Ok(Self::Any),
            "/v1/events/batch" => Ok(Self::Batch),
            "/healthz" => Ok(Self::Health),
            _ => {
                let name = path.strip_prefix("/v1/events/").filter(|name| !name.is_empty());
                // A custom type may hold a slash, so the rest of the path is the type.
                Ok(Self::Typed(percent_decode(name.ok_or(Rejection::NoSuchPath)?)))
            }
        }
    }
}

/// The trace that the request belongs to (W3C Trace Context).
pub(super) fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all("traceparent").iter();
    let (parent, another) = (parents.next()?.to_str().ok()?, parents.next());
    if another.is_some() {
        return None;
    }
    // Several lines are one list.
    let states: Option<Vec<_>> = headers.get_all("tracestate").iter().map(|value| value.to_str().ok()).collect();
    TraceContext::parse(parent, &states.unwrap_or_default().join(","))
}

/// `%41` as `A`. What does not decode stays as it is, and then is no known type.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%'
            && let Some((digits, after)) = tail.split_first_chunk::<2>()
            && let Ok(decoded) = data_encoding::HEXLOWER_PERMISSIVE.decode(digits)
        {
            bytes.extend_from_slice(&decoded);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// A page in a browser that names a host of its own choosing (DNS rebinding) is told to go away.
pub(super) fn check_host(headers: &HeaderMap, authority: Option<&str>, ours: &[String]) -> Result<(), Rejection> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().ok_or(Rejection::Malformed("the Host header is missing".to_owned()))?;
    if hosts.next().is_some() {
        return Err(Rejection::Malformed("there is more than one Host header".to_owned()));
    }
    let host = host.to_str().map_err(|_| Rejection::Misdirected)?;
    let is_ours = |name: &str| {
        let name = name.trim_end_matches('.');
        ["localhost", "127.0.0.1", "[::1]"].contains(&name.to_ascii_lowercase().as_str())
            || ours.iter().any(|our| our.eq_ignore_ascii_case(name))
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let authority_fits = authority.is_none_or(is_ours);
    if is_ours(name) && authority_fits { Ok(()) } else { Err(Rejection::Misdirected) }
}

/// Only one coding is understood. (With a `Content-Length` beside it, the HTTP library goes by the
/// chunks and closes the connection, so that nothing can hide behind the difference.)
pub(super) fn check_framing(headers: &HeaderMap) -> Result<(), Rejection> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if !chunked || codings.next().is_some() {
        return Err(Rejection::Framing);
    }
    Ok(())
}

/// Browsers say where a request comes from; applications do not.
pub(super) fn refuse_browsers(headers: &HeaderMap) -> Result<(), Rejection> {
    let is_browser = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    if is_browser { Err(Rejection::Browser) } else { Ok(()) }
}

/// The media type of the body, without parameters, in lower case. A body that is compressed would be signed and sent on as it
/// is, and no receiver would be told.
pub(super) fn media_type(headers: &HeaderMap) -> Result<String, Rejection> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if codings.into_iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Err(Rejection::MediaType("a body without Content-Encoding"));
    }
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let value = value.ok_or(Rejection::MediaType("a Content-Type, such as application/json"))?;
    let essence = value.split(';').next().unwrap_or_default();
    Ok(essence.trim().to_ascii_lowercase())
}

pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.filter(|value| value.len() <= 256).unwrap_or("application/json").to_owned()
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Rejection> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().map(str::trim).ok().filter(|key| !key.is_empty());
    match key {
        Some(key) if key.len() <= Idempotency::KEY_LENGTH_MAX => Ok(Some(key.to_owned())),
        _ => Err(Rejection::Malformed("the Idempotency-Key must have 1 to 256 visible ASCII characters".to_owned())),
    }
}
