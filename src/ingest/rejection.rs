//! Why a post was refused, and how that is told: one `match` to status and words.
//!
//! Invariant: whatever is refused here was not stored, so it can be posted again.

use http::{HeaderValue, StatusCode, header};

use crate::catalog::Misfit;
use crate::http::{Answer, BodyError, typed};
use crate::store::StoreError;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Not what it says it is; with what is wrong and where.
    Malformed(String),
    /// No token, or not one of ours.
    Unauthorized,
    /// It comes from a page in a browser.
    Browser,
    /// The token may not post this type.
    TypeNotAllowed(String),
    /// No such path.
    NoSuchPath,
    /// The method is not one of these.
    Method(&'static str),
    /// Neither `Content-Length` nor chunks.
    LengthRequired,
    /// The body did not come in time.
    TooSlow,
    /// The key belongs to another body.
    KeyReused(String),
    /// More bytes than this.
    TooLarge(usize),
    /// The body is written in a way that is not understood.
    Framing,
    /// Not of this media type.
    MediaType(&'static str),
    /// Addressed to a host that is not this one.
    Misdirected,
    /// No such event type.
    UnknownType {
        /// As posted.
        posted: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// It does not fit the schema of its type.
    Schema {
        /// Canonical name.
        event_type: String,
        /// What is wrong; at least one.
        misfits: Vec<Misfit>,
    },
    /// Too much waits to be written.
    Busy,
    /// It can not be told yet whether the key was used.
    NotYet(String),
    /// New events can not be made durable.
    Unhealthy(String),
    /// Too little room on the disk.
    Full,
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            StoreError::Busy => Self::Busy,
            StoreError::IndexAway(why) => Self::NotYet(why),
            StoreError::KeyReused(id) => Self::KeyReused(id.to_string()),
            StoreError::Failed(_) | StoreError::Io(_) | StoreError::Damaged | StoreError::Gone => {
                Self::Unhealthy(error.to_string())
            }
        }
    }
}

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::LengthRequired => Self::LengthRequired,
            BodyError::TooLarge => Self::TooLarge(0),
            BodyError::TooSlow => Self::TooSlow,
            BodyError::Broken => Self::Malformed("the body ended early or its chunks make no sense".to_owned()),
        }
    }
}

impl Rejection {
    /// The status code.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Framing => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Browser | Self::TypeNotAllowed(_) => StatusCode::FORBIDDEN,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::KeyReused(_) => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::UnknownType { .. } | Self::Schema { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::NotYet(_) | Self::Unhealthy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Full => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// What is wrong and what to do, for whoever wrote the application.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Malformed(what) => what.clone(),
            Self::Framing => "the only Transfer-Encoding that is understood is chunked".to_owned(),
            Self::Unauthorized => {
                "send Authorization: Bearer TOKEN; `postrider key create NAME` makes a token".to_owned()
            }
            Self::Browser => "this port is for local applications, not for pages in a browser".to_owned(),
            Self::TypeNotAllowed(name) => format!("this token may not post {name}"),
            Self::NoSuchPath => "there are POST /v1/events/{type}, POST /v1/events, POST /v1/events/batch and \
                                 GET /healthz"
                .to_owned(),
            Self::Method(allowed) => format!("only {allowed} is allowed here"),
            Self::LengthRequired => "send Content-Length or Transfer-Encoding: chunked".to_owned(),
            Self::TooSlow => "the body did not come in time".to_owned(),
            Self::KeyReused(id) => format!("this Idempotency-Key was used for another body, event {id}"),
            Self::TooLarge(0) => "the body is larger than ingest.max_body_bytes allows".to_owned(),
            Self::TooLarge(max) => format!("the payload is larger than {max} bytes (ingest.max_body_bytes)"),
            Self::MediaType(wanted) => format!("send {wanted}"),
            Self::Misdirected => "the Host header does not name this machine's loopback".to_owned(),
            Self::UnknownType { posted, nearest } => {
                let posted: String = posted.chars().take(80).collect();
                match nearest {
                    Some(nearest) => format!("there is no event type {posted:?}; did you mean {nearest}?"),
                    None => format!("there is no event type {posted:?}; `postrider event types` lists them"),
                }
            }
            Self::Schema { event_type, misfits } => {
                let told: Vec<String> = misfits.iter().map(ToString::to_string).collect();
                format!("the payload does not fit the schema of {event_type}: {}", told.join("; "))
            }
            Self::Busy => "too much waits to be written; post again shortly, with the same Idempotency-Key".to_owned(),
            Self::NotYet(why) => format!("it can not be told yet whether this Idempotency-Key was used: {why}"),
            Self::Unhealthy(why) => why.clone(),
            Self::Full => "there is too little room on the disk for new events".to_owned(),
        }
    }

    fn body(&self) -> serde_json::Value {
        let status = self.status();
        serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": self.detail(),
        })
    }

    /// One line of a batch's answer.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        self.body().to_string().into_bytes()
    }

    /// The whole answer.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let mut answer = typed(self.status(), "application/problem+json", self.line().into());
        let headers = answer.headers_mut();
        if matches!(self, Self::Framing | Self::Browser | Self::Misdirected) {
            // Where its body ends is not sure, or it comes from somebody who should not be here.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let retry_after = match self {
            Self::Busy => Some("1"),
            Self::NotYet(_) => Some("2"),
            Self::Full => Some("30"),
            _ => None,
        };
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        match self {
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Method(allowed) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            // The rest of the body was not read, so the connection can not be used again.
            Self::TooLarge(_) | Self::TooSlow | Self::LengthRequired => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        answer
    }
}
