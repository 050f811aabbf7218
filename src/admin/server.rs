//! Answers on the admin socket. Whoever may connect may do everything, or only look where the
//! socket or the caller says so; who it was is recorded with every change, as the kernel tells it.
//!
//! Decides nothing about deliveries and stores nothing itself. Invariant: whoever may only look is
//! refused before anything of the request is acted on, and whatever the path.

mod audit;
mod author;
mod backup;
mod bulk;
mod changes;
mod deliveries;
mod email;
mod event_types;
mod jobs;
mod keys;
mod links;
mod metrics;
mod secrets;
mod selection;
mod stats;
mod status;
mod test;
mod transfer;
mod webhooks;

pub use crate::admin::writes::Defaults;
pub use jobs::{JobKind, JobOrder, Jobs, RUNNING_MAX};
pub use keys::{TOKEN_PREFIX, default_token};
pub use selection::Selection;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::protocol::{FieldError, OPENAPI, Problem, WebhookView};
use super::writes::Author;
use crate::alerts::Alerts;
use crate::dispatch::Dispatcher;
use crate::domain::id::{WebhookId, encode_opaque};
use crate::domain::text::printable;
use crate::domain::time::Timestamp;
use crate::domain::webhook::FieldProblem;
use crate::egress::Egress;
use crate::http::{Answer, BodyError, Peer, Progress, Question, json, read_body, typed};
use crate::ingest::{Ingest, percent_decode};
use crate::store::{Store, StoreError};
use author::author_name;

/// What the answers depend on besides the store; replaced on reload.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// What a new webhook has unless it says otherwise.
    pub defaults: Defaults,
    /// Configured names of the body signature and event type headers, which own headers may not take.
    pub reserved_headers: Vec<String>,
    /// Where ingest listens.
    pub ingest_listen: String,
    /// Where metrics can be read besides the admin socket.
    pub metrics_listen: Option<String>,
    /// The ingest socket, if any.
    pub ingest_socket: Option<String>,
    /// The configuration file, if any.
    pub config_file: Option<String>,
    /// When it was read.
    pub config_read_at: Option<Timestamp>,
    /// How many days deliveries are kept after their last attempt.
    pub retention_days: u64,
    /// Loopback receivers are permitted because there is no configuration file.
    pub trial: bool,
    /// Below this many free bytes new events are refused.
    pub floor: crate::maintenance::Floor,
    /// Header names and values on the wire.
    pub names: crate::dispatch::WireNames,
}

/// What may be done on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Full,
    /// Looking at what is no secret.
    ReadOnly,
}

impl Access {
    /// A caller may ask for less than its socket allows, never for more.
    fn of_call(self, headers: &HeaderMap) -> Self {
        match headers.get("postrider-read-only") {
            Some(value) if value != "false" => Self::ReadOnly,
            _ => self,
        }
    }
}

/// The service behind the socket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    dispatcher: Dispatcher,
    ingest: Ingest,
    egress: Arc<Egress>,
    alerts: Alerts,
    options: ArcSwap<AdminOptions>,
    /// Why the configuration file was not taken over the last time it was read.
    config_refused: ArcSwapOption<String>,
    jobs: Jobs,
    ingest_connections: Box<dyn Fn() -> usize + Send + Sync>,
    /// A place for each test that may be under way.
    tests: Semaphore,
    /// One import at a time.
    imports: Semaphore,
    /// One backup at a time.
    backups: Arc<Semaphore>,
    /// A place for each poll that may wait; those who may only look take none from the others.
    polls: Semaphore,
    polls_read_only: Semaphore,
    /// Nobody waits any more.
    stopping: CancellationToken,
    /// Which run of the daemon this is.
    run: String,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// The largest document an operator sends.
const BODY_MAX: usize = 1 << 20;
const BODY_TIME: Duration = Duration::from_secs(10);

/// A whole configuration may be larger.
const IMPORT_BODY_MAX: usize = 16 << 20;

fn body_max(path: &str) -> usize {
    if path == "/v1/import" { IMPORT_BODY_MAX } else { BODY_MAX }
}

/// A request, taken apart.
struct Call {
    method: Method,
    /// The path behind `/v1/`, decoded, in parts.
    path: Vec<String>,
    query: Params,
    author: Author,
    body: Bytes,
    access: Access,
    progress: Progress,
}

/// The parameters of a call, as they were sent.
struct Params(Vec<(String, String)>);

/// Why a call was not done.
#[derive(Debug)]
enum Refusal {
    NotFound(String),
    Method(&'static str),
    Bad(String),
    Fields(Vec<FieldProblem>),
    Conflict { detail: String, current: Box<WebhookView>, submitted: Value },
    Taken(String),
    Busy(String),
    ReadOnly,
    Store(StoreError),
    Body(BodyError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

type Reply = Result<Answer, Refusal>;

impl Admin {
    /// Answers from these parts. `ingest_connections` counts the open ones.
    pub fn new(
        store: Store,
        dispatcher: Dispatcher,
        ingest: Ingest,
        egress: Arc<Egress>,
        alerts: Alerts,
        options: AdminOptions,
        ingest_connections: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Self {
        let options = ArcSwap::from_pointee(options);
        let ingest_connections = Box::new(ingest_connections);
        let jobs = Jobs::new(store.clone(), dispatcher.clone());
        let tests = Semaphore::new(test::AT_ONCE_MAX);
        let imports = Semaphore::new(1);
        let run = WebhookId::new(store.clock().now(), store.random().bits());
        let shared = Shared {
            store,
            dispatcher,
            ingest,
            egress,
            alerts,
            options,
            config_refused: ArcSwapOption::empty(),
            jobs,
            ingest_connections,
            tests,
            imports,
            backups: Arc::new(Semaphore::new(1)),
            polls: Semaphore::new(changes::POLLS_MAX),
            polls_read_only: Semaphore::new(changes::POLLS_MAX),
            stopping: CancellationToken::new(),
            run: encode_opaque(run.as_bytes()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Answers whoever waits for a change, and stops the jobs under way; waits at most `patience`.
    pub async fn stop(&self, patience: Duration) {
        self.shared.stopping.cancel();
        self.shared.jobs.close(patience).await;
    }

    /// Takes over a changed configuration file.
    pub fn reconfigure(&self, options: AdminOptions) {
        self.shared.options.store(Arc::new(options));
        self.shared.config_refused.store(None);
    }

    /// Remembers why a changed configuration file was not taken over.
    pub fn reload_refused(&self, why: &str) {
        self.shared.config_refused.store(Some(Arc::new(printable(why).to_string())));
    }

    /// Answers one request that came in where so much may be done.
    pub async fn answer(&self, access: Access, peer: Peer, question: Question, progress: Progress) -> Answer {
        let (parts, body) = question.into_parts();
        let access = access.of_call(&parts.headers);
        let reply = async {
            if access == Access::ReadOnly && !only_looks(&parts) {
                return Err(Refusal::ReadOnly);
            }
            let body = match parts.method {
                Method::GET | Method::HEAD | Method::DELETE => Bytes::new(),
                _ => match read_body(&parts.headers, body, body_max(parts.uri.path()), BODY_TIME).await {
                    Ok(body) => body,
                    // A POST that only says "do it" needs no body.
                    Err(BodyError::LengthRequired) => Bytes::new(),
                    Err(error) => return Err(Refusal::Body(error)),
                },
            };
            progress.body_is_read();
            match (parts.uri.path(), &parts.method) {
                ("/metrics", &Method::GET) => return Ok(self.metrics(&parts.headers).await),
                ("/openapi.json", &Method::GET) => {
                    return Ok(json(StatusCode::OK, OPENAPI.as_bytes().to_vec()));
                }
                ("/metrics" | "/openapi.json", _) => return Err(Refusal::Method("GET")),
                _ => {}
            }
            let call = self.call(&parts, peer, body, access, progress)?;
            if call.method == Method::GET || call.path == ["verify"] {
                return self.route(call).await;
            }
            // Goes on when whoever asked goes away: what is done has to be noted as well.
            let admin = self.clone();
            let work = tokio::spawn(async move { admin.route(call).await });
            work.await.unwrap_or_else(|error| Err(Refusal::Store(StoreError::Io(error.to_string()))))
        };
        reply.await.unwrap_or_else(|refusal| refusal.answer())
    }

    fn call(
        &self,
        parts: &Parts,
        peer: Peer,
        body: Bytes,
        access: Access,
        progress: Progress,
    ) -> Result<Call, Refusal> {
        // Structs would else be made of arrays of their values as well.
        if body.trim_ascii_start().starts_with(b"[") {
            return Err(Refusal::Bad("the body has to be a JSON object, not an array".to_owned()));
        }
        let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        Ok(Call {
            method: parts.method.clone(),
            path: path_of(parts).ok_or_else(|| no_such(parts.uri.path()))?,
            query: Params(query.into_owned().collect()),
            author: Author {
                name: author_name(peer, &parts.headers),
                uid: peer.uid,
                now: self.shared.store.clock().now(),
            },
            body,
            access,
            progress,
        })
    }

    async fn route(&self, call: Call) -> Reply {
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["status"] => self.status(&call).await,
            ["stats"] => self.stats(&call).await,
            ["changes"] => self.changes(&call).await,
            ["verify"] => self.verify(&call).await,
            ["webhooks", rest @ ..] => self.webhooks(&call, rest).await,
            ["event-types", rest @ ..] => self.event_types(&call, rest).await,
            ["events", rest @ ..] => self.events(&call, rest).await,
            ["deliveries", rest @ ..] => self.deliveries(&call, rest).await,
            ["email", "test"] => self.test_email(&call).await,
            ["backup"] => self.backup(&call).await,
            ["export"] => self.export(&call),
            ["import"] => self.import(&call).await,
            ["keys", rest @ ..] => self.keys(&call, rest).await,
            ["audit"] => self.audit(&call).await,
            ["resend"] => self.bulk(&call, JobKind::Resend).await,
            ["cancel"] => self.bulk(&call, JobKind::Cancel).await,
            ["jobs", rest @ ..] => self.jobs(&call, rest).await,
            _ => Err(no_such(&format!("/v1/{}", path.join("/")))),
        }
    }
}

/// The path behind `/v1/`, decoded, in parts.
fn path_of(parts: &Parts) -> Option<Vec<String>> {
    Some(parts.uri.path().strip_prefix("/v1/")?.split('/').map(percent_decode).collect())
}

/// Whether a request changes nothing, tests nothing and reveals nothing, whatever it is.
fn only_looks(parts: &Parts) -> bool {
    let reveals = |path: Vec<String>| match path.as_slice() {
        [first, _, third, ..] => first == "webhooks" && third == "secrets",
        _ => false,
    };
    parts.method == Method::GET && !path_of(parts).is_some_and(reveals)
}

fn no_such(path: &str) -> Refusal {
    let path: String = path.chars().take(100).collect();
    Refusal::NotFound(format!("there is no {}", printable(&path)))
}

impl Params {
    /// An empty one counts as not sent.
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }
}

impl Call {
    fn param(&self, name: &str) -> Option<&str> {
        self.query.get(name)
    }

    /// The first parameter that is not one of these, or is there more than once.
    fn check_params(&self, known: &[&str]) -> Result<(), Refusal> {
        let twice = |(place, (name, _)): &(usize, &(String, String))| {
            self.query.0[..*place].iter().any(|(other, _)| other == name)
        };
        if let Some((_, (name, _))) = self.query.0.iter().enumerate().find(twice) {
            return Err(Refusal::Bad(format!("the parameter {name:?} is there more than once")));
        }
        match self.query.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((unknown, _)) => {
                let text = format!("there is no parameter {unknown:?}; there are {}", known.join(", "));
                Err(Refusal::Bad(text))
            }
            None => Ok(()),
        }
    }

    fn document(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| Refusal::Bad(format!("the body is not JSON: {error}")))
    }

    fn only(&self, method: &Method, allowed: &'static str) -> Result<(), Refusal> {
        if self.method == *method { Ok(()) } else { Err(Refusal::Method(allowed)) }
    }
}

fn reply<T: Serialize>(status: StatusCode, body: &T) -> Reply {
    match serde_json::to_vec(body) {
        Ok(body) => Ok(json(status, body)),
        Err(error) => Err(Refusal::Bad(error.to_string())),
    }
}

impl Refusal {
    /// The refusal in words, without its status.
    fn detail(self) -> String {
        self.problem().1.detail
    }

    fn answer(self) -> Answer {
        let (status, problem) = self.problem();
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        typed(status, "application/problem+json", body.into())
    }

    fn problem(self) -> (StatusCode, Problem) {
        let mut problem = Problem::default();
        let status = match self {
            Self::NotFound(detail) => {
                problem.detail = detail;
                StatusCode::NOT_FOUND
            }
            Self::Method(allowed) => {
                problem.detail = format!("only {allowed} is allowed here");
                StatusCode::METHOD_NOT_ALLOWED
            }
            Self::Bad(detail) => {
                problem.detail = detail;
                StatusCode::BAD_REQUEST
            }
            Self::Fields(fields) => {
                let text = |one: &FieldProblem| format!("{} {}", one.field, one.detail).trim_start().to_owned();
                let texts: Vec<String> = fields.iter().map(text).collect();
                problem.detail = texts.join("; ");
                let error = |one: FieldProblem| FieldError { field: one.field, detail: one.detail };
                problem.problems = fields.into_iter().map(error).collect();
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Conflict { detail, current, submitted } => {
                problem.detail = detail;
                problem.current = Some(current);
                problem.submitted = Some(submitted);
                StatusCode::CONFLICT
            }
            Self::Taken(detail) => {
                problem.detail = detail;
                StatusCode::CONFLICT
            }
            Self::Busy(detail) => {
                problem.detail = detail;
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::ReadOnly => {
                "this connection is read-only: it may look, but neither change, test nor reveal anything"
                    .clone_into(&mut problem.detail);
                StatusCode::FORBIDDEN
            }
            Self::Store(error) => {
                problem.detail = error.to_string();
                store_status(&error)
            }
            Self::Body(error) => {
                let (status, detail) = match error {
                    BodyError::TooLarge => {
                        (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB, or 16 MiB for an import")
                    }
                    BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
                    _ => (StatusCode::BAD_REQUEST, "the body ended early"),
                };
                detail.clone_into(&mut problem.detail);
                status
            }
        };
        problem.status = status.as_u16();
        status.canonical_reason().unwrap_or("Error").clone_into(&mut problem.title);
        (status, problem)
    }
}

fn store_status(error: &StoreError) -> StatusCode {
    match error {
        StoreError::Full => StatusCode::INSUFFICIENT_STORAGE,
        StoreError::Busy => StatusCode::TOO_MANY_REQUESTS,
        StoreError::IndexAway(_) | StoreError::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::KeyReused(_) => StatusCode::CONFLICT,
        StoreError::Gone => StatusCode::NOT_FOUND,
        StoreError::Io(_) | StoreError::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
