//! The asking side of the admin socket, for the command line and the UI.
//!
//! One typed method for each call of the protocol. It does not find the socket (that is
//! `config::paths`), read the environment, retry, print, or decide what a refusal means.
//!
//! Invariants: every call ends within a time limit; an answer is bounded before it is read; and
//! every failure is one of the four reactions of [`ClientError`].

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::protocol::{
    AuditView, DeliveryView, Done, EmailTest, EmailTested, EventView, KeyView, NewKey, PageView, Problem, Resent,
    Status, VerifyReport, WebhookView,
};

mod bulk;
pub mod curl;
pub mod draft;
mod event_types;
mod filter;
pub mod ingest;
#[cfg(test)]
mod tests;
mod transfer;
mod trial;
mod watch;

pub use bulk::Bulk;
pub use filter::{AuditFilter, DeliveryFilter, EventFilter};
pub use watch::Walk;

/// An ordinary call. The daemon answers these from memory or with a bounded search.
const CALL_MAX: Duration = Duration::from_secs(30);

/// A mail server may take its time, and the daemon gives it 90 s.
const EMAIL_MAX: Duration = Duration::from_secs(120);

/// Checking the whole store reads all of it.
const VERIFY_MAX: Duration = Duration::from_secs(4 * 3600);

/// A socket either answers at once or its daemon is stuck.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Larger than any page or payload the daemon can have.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Who is asking, for the audit trail.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// `cli` or `tui`.
    pub via: &'static str,
    /// `$SUDO_USER`, if set: the daemon sees only root then.
    pub sudo_user: Option<String>,
    /// Asks to be refused whatever changes anything.
    pub read_only: bool,
}

/// Why a call came to nothing. One variant per reaction.
#[derive(Debug)]
pub enum ClientError {
    /// No daemon answered: start it, or name another socket.
    Unreachable {
        /// Every socket that was tried, and what happened.
        tried: Vec<(PathBuf, io::Error)>,
    },
    /// The socket is there and may not be used by this user.
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon answered no, and says why.
    Refused(Problem),
    /// The daemon's answer makes no sense to this version.
    Protocol(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { tried } => {
                f.write_str("the daemon cannot be reached")?;
                for (index, (path, error)) in tried.iter().enumerate() {
                    let before = if index == 0 { ": " } else { "; " };
                    write!(f, "{before}{}: {error}", path.display())?;
                }
                Ok(())
            }
            Self::Forbidden { path } => write!(f, "no permission to use the admin socket {}", path.display()),
            Self::Refused(problem) => {
                f.write_str(if problem.detail.is_empty() { &problem.title } else { &problem.detail })?;
                // The detail may say it all already.
                let mut untold = problem.problems.iter().filter(|field| !problem.detail.contains(&field.detail));
                untold.try_for_each(|field| write!(f, "\n  {}: {}", field.field, field.detail))
            }
            Self::Protocol(text) => write!(f, "the daemon's answer is not understood: {text}"),
        }
    }
}

impl std::error::Error for ClientError {}

impl ClientError {
    /// What to do next, in one line.
    #[must_use]
    pub const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => {
                Some("is the daemon running? start it with `postrider serve`, or name its socket with --socket")
            }
            Self::Forbidden { .. } => {
                Some("join the group that owns the socket (`sudo usermod -aG postrider $USER`, then log in again)")
            }
            Self::Refused(_) => None,
            Self::Protocol(_) => Some("daemon and client may be of different versions: compare `postrider status`"),
        }
    }
}

/// Bytes as an application posted them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The media type they were posted with.
    pub content_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A way to ask one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

/// A successful answer.
struct Answer {
    content_type: String,
    body: Vec<u8>,
}

/// One call, before it is sent.
struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    limit: Duration,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self { method, path, query: Vec::new(), body: None, limit: CALL_MAX }
    }

    fn get(path: &'a [&'a str]) -> Self {
        Self::new(Method::GET, path)
    }

    fn post(path: &'a [&'a str]) -> Self {
        Self::new(Method::POST, path)
    }

    fn query(mut self, query: Vec<(&'static str, String)>) -> Self {
        self.query = query;
        self
    }

    fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn json(mut self, body: &impl Serialize) -> Result<Self, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Protocol(error.to_string()))?;
        self.body = Some(body);
        Ok(self)
    }
}

impl Client {
    /// A client of the first socket that accepts a connection.
    ///
    /// # Errors
    ///
    /// [`ClientError::Forbidden`] if none does and one is there that may not be used, else
    /// [`ClientError::Unreachable`] with all of them.
    pub async fn connect(candidates: &[PathBuf], caller: &Caller) -> Result<Self, ClientError> {
        let mut tried = Vec::new();
        for path in candidates {
            match probe(path).await {
                Ok(()) => return Self::new(path, caller),
                Err(error) => tried.push((path.clone(), error)),
            }
        }
        let denied = tried.iter().find(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied);
        Err(match denied {
            Some((path, _)) => ClientError::Forbidden { path: path.clone() },
            None => ClientError::Unreachable { tried },
        })
    }

    /// A client of this socket, whether anybody listens there or not.
    ///
    /// # Errors
    ///
    /// [`ClientError::Protocol`] if no HTTP client can be had, which is a fault of the program.
    pub fn new(socket: impl Into<PathBuf>, caller: &Caller) -> Result<Self, ClientError> {
        let socket = socket.into();
        let mut headers = HeaderMap::new();
        // A name that cannot be a header is left out: the audit trail also has the peer's user id.
        if let Ok(via) = HeaderValue::from_str(caller.via) {
            headers.insert("postrider-via", via);
        }
        if let Some(Ok(user)) = caller.sudo_user.as_deref().map(HeaderValue::from_str) {
            headers.insert("postrider-sudo-user", user);
        }
        if caller.read_only {
            headers.insert("postrider-read-only", HeaderValue::from_static("true"));
        }
        let http = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .connect_timeout(CONNECT_MAX)
            .build()
            .map_err(|error| ClientError::Protocol(error.to_string()))?;
        Ok(Self { http, socket })
    }

    /// The socket that is asked.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    async fn send(&self, call: Call<'_>) -> Result<Answer, ClientError> {
        let limit = call.limit;
        let response = self.response(call).await?;
        let content_type = media_type(&response);
        let body = body(response).await?.map_err(|error| self.lost(&error, limit))?;
        Ok(Answer { content_type, body })
    }

    /// A successful answer whose body was not read.
    async fn response(&self, call: Call<'_>) -> Result<Response, ClientError> {
        let url = address(call.path, &call.query)?;
        let mut request = self.http.request(call.method, url).timeout(call.limit);
        if let Some(body) = call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let lost = |error: reqwest::Error| self.lost(&error, call.limit);
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = body(response).await?.map_err(lost)?;
        Err(ClientError::Refused(problem(status, &body)))
    }

    /// What a request that got no answer means.
    fn lost(&self, error: &reqwest::Error, limit: Duration) -> ClientError {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(cause) = cause.downcast_ref::<io::Error>() {
                if cause.kind() == io::ErrorKind::PermissionDenied {
                    return ClientError::Forbidden { path: self.socket.clone() };
                }
                // The original is borrowed; its code is what its text is made of.
                let cause = cause
                    .raw_os_error()
                    .map_or_else(|| io::Error::new(cause.kind(), cause.to_string()), io::Error::from_raw_os_error);
                return ClientError::Unreachable { tried: vec![(self.socket.clone(), cause)] };
            }
            source = cause.source();
        }
        let cause = if error.is_timeout() {
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs()))
        } else {
            io::Error::new(io::ErrorKind::ConnectionAborted, "it closed the connection before answering")
        };
        ClientError::Unreachable { tried: vec![(self.socket.clone(), cause)] }
    }

    async fn ask<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer.body).map_err(|error| ClientError::Protocol(error.to_string()))
    }

    /// For calls whose answer says nothing that is needed.
    async fn tell(&self, call: Call<'_>) -> Result<(), ClientError> {
        self.send(call).await.map(drop)
    }

    async fn payload(&self, call: Call<'_>) -> Result<Payload, ClientError> {
        let answer = self.send(call).await?;
        Ok(Payload { content_type: answer.content_type, bytes: answer.body })
    }

    /// How the daemon is doing.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; the same holds for every call below.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.ask(Call::get(&["status"])).await
    }

    /// All webhooks, or those that were deleted and can still be restored.
    pub async fn webhooks(&self, deleted: bool) -> Result<PageView<WebhookView>, ClientError> {
        let query = if deleted { vec![("deleted", "true".to_owned())] } else { Vec::new() };
        self.ask(Call::get(&["webhooks"]).query(query)).await
    }

    /// One webhook, by id or name.
    pub async fn webhook(&self, webhook: &str) -> Result<WebhookView, ClientError> {
        self.ask(Call::get(&["webhooks", webhook])).await
    }

    /// Makes a webhook; fields left out have their defaults.
    pub async fn create_webhook(&self, fields: &Value) -> Result<WebhookView, ClientError> {
        self.ask(Call::post(&["webhooks"]).json(fields)?).await
    }

    /// Changes fields; those left out stay. With a `version`, a stale one is refused (409).
    pub async fn change_webhook(&self, webhook: &str, fields: &Value) -> Result<WebhookView, ClientError> {
        self.ask(Call::new(Method::PATCH, &["webhooks", webhook]).json(fields)?).await
    }

    /// Replaces everything but secrets that are left out.
    pub async fn replace_webhook(&self, webhook: &str, fields: &Value) -> Result<WebhookView, ClientError> {
        self.ask(Call::new(Method::PUT, &["webhooks", webhook]).json(fields)?).await
    }

    /// Deletes a webhook and cancels its pending deliveries.
    pub async fn delete_webhook(&self, webhook: &str) -> Result<(), ClientError> {
        self.tell(Call::new(Method::DELETE, &["webhooks", webhook])).await
    }

    /// Lets its deliveries wait.
    pub async fn pause_webhook(&self, webhook: &str) -> Result<(), ClientError> {
        self.tell(Call::post(&["webhooks", webhook, "pause"])).await
    }

    /// Lets its deliveries go on.
    pub async fn resume_webhook(&self, webhook: &str) -> Result<(), ClientError> {
        self.tell(Call::post(&["webhooks", webhook, "resume"])).await
    }

    /// Undoes a deletion.
    pub async fn restore_webhook(&self, webhook: &str) -> Result<(), ClientError> {
        self.tell(Call::post(&["webhooks", webhook, "restore"])).await
    }

    /// Replaces the signing key; `fields` holds `signing_key` and perhaps `keep_previous_seconds`.
    pub async fn rotate_key(&self, webhook: &str, fields: &Value) -> Result<(), ClientError> {
        self.tell(Call::post(&["webhooks", webhook, "rotate-key"]).json(fields)?).await
    }

    /// A page of events, newest first.
    pub async fn events(
        &self,
        filter: &EventFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<PageView<EventView>, ClientError> {
        self.ask(Call::get(&["events"]).query(filter::page(filter.query(), limit, cursor))).await
    }

    /// One event, with its deliveries.
    pub async fn event(&self, id: &str) -> Result<EventView, ClientError> {
        self.ask(Call::get(&["events", id])).await
    }

    /// The bytes of an event.
    pub async fn event_payload(&self, id: &str) -> Result<Payload, ClientError> {
        self.payload(Call::get(&["events", id, "payload"])).await
    }

    /// A page of deliveries, newest first.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<PageView<DeliveryView>, ClientError> {
        self.ask(Call::get(&["deliveries"]).query(filter::page(filter.query(), limit, cursor))).await
    }

    /// One delivery, with its attempts and the request as it is sent.
    pub async fn delivery(&self, id: &str) -> Result<DeliveryView, ClientError> {
        self.ask(Call::get(&["deliveries", id])).await
    }

    /// The bytes that are delivered.
    pub async fn delivery_payload(&self, id: &str) -> Result<Payload, ClientError> {
        self.payload(Call::get(&["deliveries", id, "payload"])).await
    }

    /// Asks for another go. It is under way when this returns, not done.
    pub async fn resend(&self, id: &str) -> Result<Resent, ClientError> {
        self.ask(Call::post(&["deliveries", id, "resend"])).await
    }

    /// Gives up the attempts that are still to come.
    pub async fn cancel(&self, id: &str) -> Result<Done, ClientError> {
        self.ask(Call::post(&["deliveries", id, "cancel"])).await
    }

    /// All ingest tokens, without the tokens themselves.
    pub async fn keys(&self) -> Result<PageView<KeyView>, ClientError> {
        self.ask(Call::get(&["keys"])).await
    }

    /// Makes an ingest token; the answer is the only time it is told.
    pub async fn create_key(&self, key: &NewKey) -> Result<KeyView, ClientError> {
        self.ask(Call::post(&["keys"]).json(key)?).await
    }

    /// Makes an ingest token worthless.
    pub async fn revoke_key(&self, name: &str) -> Result<Done, ClientError> {
        self.ask(Call::new(Method::DELETE, &["keys", name])).await
    }

    /// A page of the audit log, newest first.
    pub async fn audit(
        &self,
        filter: &AuditFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<PageView<AuditView>, ClientError> {
        self.ask(Call::get(&["audit"]).query(filter::page(filter.query(), limit, cursor))).await
    }

    /// Sends a mail that shows that mail works, and tells what the server said.
    pub async fn test_email(&self, test: &EmailTest) -> Result<EmailTested, ClientError> {
        let mut call = Call::post(&["email", "test"]).json(test)?;
        call.limit = EMAIL_MAX;
        self.ask(call).await
    }

    /// Checks every record of the store. Can take long.
    pub async fn verify(&self) -> Result<VerifyReport, ClientError> {
        let mut call = Call::post(&["verify"]);
        call.limit = VERIFY_MAX;
        self.ask(call).await
    }
}

/// Whether somebody listens.
async fn probe(path: &Path) -> io::Result<()> {
    let connecting = tokio::net::UnixStream::connect(path);
    tokio::time::timeout(CONNECT_MAX, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(drop)
}

/// The URL of a path below `/v1`. The host is only there because HTTP wants one.
fn address(path: &[&str], query: &[(&'static str, String)]) -> Result<Url, ClientError> {
    // The URL rules drop such segments, and the call would hit something else.
    if let Some(odd) = path.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
        return Err(ClientError::Refused(Problem {
            status: 404,
            title: "Not Found".to_owned(),
            detail: format!("nothing is named \"{odd}\""),
            ..Problem::default()
        }));
    }
    let fault = |text: String| ClientError::Protocol(text);
    let mut url = Url::parse("http://localhost/v1").map_err(|error| fault(error.to_string()))?;
    url.path_segments_mut().map_err(|()| fault("a URL without a path".to_owned()))?.extend(path);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

fn media_type(response: &Response) -> String {
    let named = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    named.unwrap_or("application/octet-stream").to_owned()
}

/// The body, read no further than the bound.
async fn body(mut response: Response) -> Result<Result<Vec<u8>, reqwest::Error>, ClientError> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(Ok(bytes)),
            Ok(Some(chunk)) if bytes.len() + chunk.len() > ANSWER_BYTES_MAX => {
                return Err(ClientError::Protocol(format!("it is longer than {ANSWER_BYTES_MAX} bytes")));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// The problem in the body of a refusal, or one made up from the status alone.
fn problem(status: reqwest::StatusCode, body: &[u8]) -> Problem {
    let title = status.canonical_reason().unwrap_or("refused");
    let told = serde_json::from_slice::<Problem>(body).ok();
    let mut problem = told.unwrap_or_else(|| Problem { title: title.to_owned(), ..Problem::default() });
    // The status line decides, whatever the body claims.
    problem.status = status.as_u16();
    if problem.detail.is_empty() && problem.problems.is_empty() {
        problem.detail = format!("the daemon answered {} {title}", problem.status);
    }
    problem
}
