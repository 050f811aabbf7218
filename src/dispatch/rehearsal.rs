//! A test of a webhook: one request, made as deliveries make theirs, told step by step.
//!
//! The request goes through [`Prepared::request`] and the one way out, so guard, signature and
//! bounds are those of real sends; it is marked with `Postrider-Test`. It is not queued, retried
//! or noted in the journal, and changes nothing about the webhook, whatever the receiver answers.
//! Its invariant: what it tells holds nothing that the receiver sent but a status code, and after
//! a step that failed none is said to have been tried.

mod causes;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use url::{Host, Url};

use super::attempt::{Place, Prepared, WireNames};
use super::oauth::Tokens;
use crate::clock::Clock;
use crate::domain::attempt::{Class, ErrorKind, Outcome};
use crate::domain::event::Event;
use crate::domain::event_type;
use crate::domain::id::{DeliveryId, EventIds};
use crate::domain::references::References;
use crate::domain::time::Timestamp;
use crate::domain::webhook::Webhook;
use crate::egress::{Egress, Probe, Request, TlsFailure, TlsProfile, Trace, Unreached, Unresolved};
use crate::random::Random;

/// What is to be tested.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The webhook, saved or not.
    pub webhook: Arc<Webhook>,
    /// Canonical name of the event type.
    pub event_type: String,
    /// The body, sent as it is; JSON.
    pub payload: Bytes,
    /// What an operator should know about the request, such as where kept secrets went.
    pub remark: Option<String>,
    /// The same for the token request.
    pub oauth_remark: Option<String>,
}

/// What came of a test.
pub struct Rehearsal {
    /// `url`, `dns`, `connect`, `tls`, `oauth`, `signature`, `request`, `response`: always all.
    pub steps: Vec<Step>,
    /// As of every attempt.
    pub outcome: Outcome,
    /// The receiver answered 2xx in time.
    pub delivered: bool,
    /// The request, sent or not; `None` when the webhook is no valid one.
    pub request: Option<Request>,
}

/// One step of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// How it went.
    pub state: State,
    /// How long it took, when that was measured.
    pub duration: Option<Duration>,
    /// What was found, in a line.
    pub detail: String,
    /// What most likely lies behind a failure, in a line.
    pub cause: Option<&'static str>,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should.
    Passed,
    /// It is why the test failed.
    Failed,
    /// There is nothing to do in it for this webhook.
    Skipped,
    /// A step before it failed.
    NotTried,
}

impl State {
    /// `ok`, `failed`, `skipped` or `not_tried`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::NotTried => "not_tried",
        }
    }
}

static TEST: HeaderName = HeaderName::from_static("postrider-test");

/// A certificate with fewer days left should be renewed.
const DAYS_LEFT_LOW: i64 = 14;
/// Addresses that are listed.
const ADDRESSES_SHOWN: usize = 6;

/// Tests a webhook. Takes at most its timeout, and as long again for an access token.
pub async fn rehearse(
    egress: &Arc<Egress>,
    clock: Clock,
    random: &Random,
    names: &WireNames,
    trial: Trial,
) -> Rehearsal {
    let webhook = Arc::clone(&trial.webhook);
    let tls = TlsProfile::new(&webhook.tls);
    let Some(prepared) = Prepared::new(Arc::clone(&webhook), tls) else { return unfit(&webhook) };
    let mut request = request_of(&prepared, names, &trial, clock, random);

    let token = match &webhook.oauth {
        Some(_) => Some(oauth_step(egress, clock, &webhook, names).await),
        None => None,
    };
    let oauth = oauth_told(token.as_ref(), trial.oauth_remark.as_deref());
    if let Some(Token { token: Ok(value), .. }) = token {
        request.headers.insert(AUTHORIZATION, value);
    }
    let withheld = if prepared.tls_problem().is_some() {
        Some(ErrorKind::Tls)
    } else {
        (oauth.state == State::Failed).then_some(ErrorKind::Oauth)
    };
    let probe = egress.probe(request.clone(), withheld).await;

    let url = prepared.url();
    let mut steps = Steps::default();
    steps.push(url_step(url, &probe.trace));
    steps.push(dns_step(url, &probe));
    steps.push(connect_step(&probe));
    steps.push(tls_step(&prepared, &probe, clock.now()));
    steps.push(oauth);
    steps.push(signature_step(&webhook, names, clock.now()));
    steps.push(request_step(&trial));
    steps.push(response_step(&webhook, url, &probe.outcome));
    let delivered = probe.outcome.is_success();
    Rehearsal { steps: steps.0, outcome: probe.outcome, delivered, request: Some(request) }
}

/// A webhook that nothing can be sent for, which checking it prevents.
fn unfit(webhook: &Webhook) -> Rehearsal {
    let detail = match Url::parse(&webhook.url) {
        Err(error) => format!("the URL cannot be read: {error}"),
        Ok(_) => "a header of the webhook cannot be sent".to_owned(),
    };
    let mut steps = Steps::default();
    steps.push(failed("url", None, detail, "the webhook is mistyped: save it to see which field"));
    for name in ["dns", "connect", "tls", "oauth", "signature", "request", "response"] {
        steps.push(skipped(name, ""));
    }
    Rehearsal { steps: steps.0, outcome: Outcome::failed(ErrorKind::Blocked), delivered: false, request: None }
}

/// The request as a first and last attempt would make it, marked as a test.
fn request_of(prepared: &Prepared, names: &WireNames, trial: &Trial, clock: Clock, random: &Random) -> Request {
    let now = clock.now();
    let event = Event {
        id: EventIds::default().next(now, random.bits()),
        event_type: trial.event_type.clone(),
        content_type: "application/json".to_owned(),
        scan_ref: None,
        references: References::default(),
        token: String::new(),
        idempotency: None,
        trace: None,
    };
    let id = DeliveryId { event: event.id, ordinal: 0 };
    let place = Place { number: 1, automatic: prepared.webhook.retry.attempts_max() };
    let mut request = prepared.request(names, &event, id, place, trial.payload.clone(), now);
    request.headers.insert(&TEST, HeaderValue::from_static("true"));
    request
}

/// Steps in order; what follows a failure was not tried.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn push(&mut self, step: Step) {
        let over = self.0.last().is_some_and(|last| matches!(last.state, State::Failed | State::NotTried));
        let not_tried = |name| Step { state: State::NotTried, ..skipped(name, "not tried") };
        self.0.push(if over { not_tried(step.name) } else { step });
    }
}

fn passed(name: &'static str, duration: Option<Duration>, detail: String) -> Step {
    Step { name, state: State::Passed, duration, detail, cause: None }
}

fn skipped(name: &'static str, detail: &str) -> Step {
    Step { name, state: State::Skipped, duration: None, detail: detail.to_owned(), cause: None }
}

fn failed(name: &'static str, duration: Option<Duration>, detail: String, cause: &'static str) -> Step {
    Step { name, state: State::Failed, duration, detail, cause: Some(cause) }
}

fn url_step(url: &Url, trace: &Trace) -> Step {
    if let Some(problem) = &trace.url_problem {
        return failed("url", None, problem.to_string(), causes::of_url(problem));
    }
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    passed("url", None, format!("{}, {host}, port {port}", url.scheme()))
}

fn dns_step(url: &Url, probe: &Probe) -> Step {
    let took = probe.outcome.phases.dns;
    if probe.outcome.result == Err(ErrorKind::Dns) {
        let why = probe.trace.unresolved.unwrap_or(Unresolved::NoAnswer);
        let whose = probe.trace.proxy.as_ref().map_or_else(String::new, |proxy| format!("the proxy {proxy}: "));
        return failed("dns", took, format!("{whose}{why}"), causes::of_name(why));
    }
    if !matches!(url.host(), Some(Host::Domain(_))) {
        return skipped("dns", "the URL names an address");
    }
    if probe.trace.proxy.is_some() {
        return skipped("dns", "left to the proxy");
    }
    let addresses = &probe.trace.addresses;
    let shown: Vec<String> = addresses.iter().take(ADDRESSES_SHOWN).map(ToString::to_string).collect();
    let more = match addresses.len().saturating_sub(ADDRESSES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    passed("dns", took, format!("{}{more}", shown.join(", ")))
}

fn connect_step(probe: &Probe) -> Step {
    let took = probe.outcome.phases.connect;
    if let Some(problem) = &probe.trace.denied {
        return failed("connect", took, problem.to_string(), causes::of_url(problem));
    }
    if let Some(why) = probe.trace.no_tunnel {
        return failed("connect", took, why.to_string(), causes::of_proxy(why));
    }
    let unreached = &probe.trace.unreached;
    if matches!(probe.outcome.result, Err(ErrorKind::Refused | ErrorKind::ConnectTimeout | ErrorKind::Blocked)) {
        let told: Vec<String> = unreached.iter().map(|(peer, why)| format!("{peer}: {why}")).collect();
        let last = unreached.last().map_or(Unreached::NoAnswer, |(_, why)| *why);
        let told = if told.is_empty() { last.to_string() } else { told.join("; ") };
        return failed("connect", took, told, causes::of_address(last));
    }
    let peer = probe.outcome.peer.map(|peer| peer.to_string()).unwrap_or_default();
    let before = match unreached.len() {
        0 => String::new(),
        count => format!(", after {count} other addresses in vain"),
    };
    let proxy = if probe.trace.proxy.is_some() { ", the proxy" } else { "" };
    passed("connect", took, format!("{peer}{proxy}{before}"))
}

fn tls_step(prepared: &Prepared, probe: &Probe, now: Timestamp) -> Step {
    let took = probe.outcome.phases.tls;
    if let Some(problem) = prepared.tls_problem() {
        return failed("tls", None, problem.to_string(), "the webhook's certificates are of no use: set them anew");
    }
    if prepared.url().scheme() == "http" {
        return skipped("tls", "http:// is not encrypted");
    }
    match (probe.outcome.result, &probe.trace.session) {
        (Err(ErrorKind::Tls), _) => {
            let why = probe.trace.tls_failure.unwrap_or(TlsFailure::Failed);
            failed("tls", took, why.to_string(), causes::of_tls(why))
        }
        (Err(ErrorKind::Timeout), None) => {
            let detail = format!("no TLS handshake within {} s", prepared.webhook.timeout.as_secs());
            failed("tls", took, detail, "the port does not speak TLS, or the receiver hangs")
        }
        (_, None) => failed("tls", took, "the connection ended".to_owned(), causes::of_tls(TlsFailure::Closed)),
        (_, Some(session)) => {
            let left = session.expires_at.map_or_else(String::new, |at| time_left(at, now));
            let shows = if prepared.shows_certificate() { ", our certificate at hand" } else { "" };
            passed("tls", took, format!("{}{left}{shows}", session.version))
        }
    }
}

fn time_left(expires_at: Timestamp, now: Timestamp) -> String {
    let days = i64::try_from(expires_at.since(now).as_secs() / 86_400).unwrap_or(i64::MAX);
    let soon = if days < DAYS_LEFT_LOW { ": have it renewed" } else { "" };
    format!(", certificate valid for {days} more days{soon}")
}

fn signature_step(webhook: &Webhook, names: &WireNames, now: Timestamp) -> Step {
    let Some(key) = &webhook.signing_key else {
        return skipped("signature", "no signing key: not signed");
    };
    let rotating = match &key.previous {
        Some((_, until)) if *until > now => format!("; the previous key signs webhook-signature too, until {until}"),
        _ => String::new(),
    };
    passed("signature", None, format!("{} and webhook-signature{rotating}", names.body_signature))
}

fn request_step(trial: &Trial) -> Step {
    let wire_name = event_type::wire_name(&trial.event_type);
    let wanted = event_type::matching(&trial.webhook.event_types, &trial.event_type).is_some();
    let unwanted = if wanted { "" } else { ", which the webhook does not subscribe to" };
    let remark = trial.remark.as_ref().map_or_else(String::new, |remark| format!("; {remark}"));
    let filter = &trial.webhook.filter;
    let wants = |payload: serde_json::Value| filter.matches(&payload);
    let skips = !filter.is_empty() && !serde_json::from_slice(&trial.payload).is_ok_and(wants);
    let skips = if skips { "; the webhook's filter would skip this payload" } else { "" };
    passed("request", None, format!("POST of {} bytes as {wire_name}{unwanted}{skips}{remark}", trial.payload.len()))
}

fn response_step(webhook: &Webhook, url: &Url, outcome: &Outcome) -> Step {
    let took = outcome.phases.first_byte;
    let seconds = webhook.timeout.as_secs();
    match outcome.result {
        Ok(code) => {
            let words = Class::of(code).words();
            let detail = format!("{code}, {words}, {} ms of {seconds} s", outcome.duration.as_millis());
            if outcome.is_success() {
                passed("response", took, detail)
            } else {
                failed("response", took, detail, causes::of_code(code))
            }
        }
        Err(kind) => {
            let detail = match kind {
                ErrorKind::Timeout => format!("no answer within {seconds} s"),
                ErrorKind::Reset => "the connection was closed before an answer".to_owned(),
                ErrorKind::BadResponse => "what came is no HTTP/1.1 answer".to_owned(),
                other => format!("no answer: {other}"),
            };
            failed("response", took, detail, causes::of_kind(kind, url.scheme() == "https"))
        }
    }
}

/// What came of asking for an access token.
struct Token {
    /// The `Authorization` header, or what is wrong.
    token: Result<HeaderValue, String>,
    took: Duration,
}

fn oauth_told(token: Option<&Token>, remark: Option<&str>) -> Step {
    let Some(Token { token, took }) = token else { return skipped("oauth", "not set") };
    let remark = remark.map_or_else(String::new, |remark| format!("; {remark}"));
    match token {
        Ok(_) => passed("oauth", Some(*took), format!("got an access token{remark}")),
        Err(detail) => {
            let cause = "the authorization server is not there, or does not accept oauth.token and oauth.request";
            failed("oauth", Some(*took), format!("{detail}{remark}"), cause)
        }
    }
}

/// Asks for an access token, as is done before a delivery; never one that is known already, so that
/// what is tested is what is configured.
async fn oauth_step(egress: &Arc<Egress>, clock: Clock, webhook: &Webhook, names: &WireNames) -> Token {
    let before = clock.elapsed();
    let tokens = Tokens::new(Arc::clone(egress) as _, clock);
    let token = tokens.access_token(webhook, &names.user_agent, before.saturating_add(webhook.timeout)).await;
    let token = token.map(|token| token.header()).map_err(|failure| failure.detail);
    Token { token, took: clock.elapsed().saturating_sub(before) }
}
