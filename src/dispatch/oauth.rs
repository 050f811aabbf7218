//! OAuth towards receivers: an access token from a webhook's authorization server before a delivery
//! (RFC 6749, section 5), shown to the receiver as a bearer (RFC 6750).
//!
//! It does not decide when a delivery is tried again, and knows no grant: what the server is asked
//! with is the operator's. Its invariants: one request at a time per webhook; no attempt outlasts
//! its deadline, whoever takes the time; and neither a token nor a request nor any text of an
//! answer gets into a failure, a log line or a debug print.

mod answer;

pub use answer::read as read_answer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use tokio::time::timeout;
use url::Url;
use zeroize::Zeroize as _;

use super::pool_key;
use crate::clock::Clock;
use crate::domain::attempt::{ErrorKind, Outcome};
use crate::domain::credentials::OAuth;
use crate::domain::id::WebhookId;
use crate::domain::secret::Secret;
use crate::domain::webhook::Webhook;
use crate::egress::{Request, Transport};

/// The longest answer of an authorization server, in bytes.
const ANSWER_MAX: usize = 64 << 10;
/// So long before its end a token is no longer used: it must still be good when it arrives. For
/// short lives it is a tenth of them.
const MARGIN_MAX: Duration = Duration::from_mins(1);
/// For so long a failure is everybody's, so that those who waited for the token do not ask one
/// after the other. No retry comes sooner.
const FAILURE_SHARED: Duration = Duration::from_secs(1);
/// With less time than this left, a 401 of the receiver stands.
const SECOND_TRY_MIN: Duration = Duration::from_millis(200);

/// What a receiver is shown. Its bytes are wiped when the last copy goes.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// `Bearer …`
    authorization: Arc<Secret>,
}

impl AccessToken {
    /// The value of `Authorization`, marked as sensitive.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        // Visible ASCII is always a header value; anything else was refused on its way in.
        sensitive(self.authorization.expose()).unwrap_or_else(|| HeaderValue::from_static("Bearer"))
    }

    /// Whether both came with the same answer, which the same text does not say.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.authorization, &other.authorization)
    }
}

/// Why there is no access token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct OAuthFailure {
    /// One line that is safe to show: nothing in it comes from outside.
    pub detail: String,
}

impl OAuthFailure {
    fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into() }
    }

    fn late(patience: Duration) -> Self {
        let patience = Duration::from_millis(super::millis(patience));
        Self::new(format!("no answer of the authorization server within {patience:?}"))
    }
}

/// The access tokens of all webhooks. In memory only: a start asks anew.
pub struct Tokens {
    transport: Arc<dyn Transport>,
    clock: Clock,
    slots: Mutex<HashMap<WebhookId, Arc<Slot>>>,
}

/// What is known for one webhook, as long as its settings stay the same.
struct Slot {
    settings: OAuth,
    /// Held by whoever asks the server. It is given on in order, also when its holder is dropped.
    turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

/// Times are of the monotonic clock, so that a step of the wall clock neither keeps a token alive
/// nor throws it away.
enum Known {
    Nothing,
    Token { token: AccessToken, until: Duration },
    Failure { failure: OAuthFailure, until: Duration },
}

impl Slot {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, now: Duration) -> Option<Result<AccessToken, OAuthFailure>> {
        match &*self.known() {
            Known::Token { token, until } if now < *until => Some(Ok(token.clone())),
            Known::Failure { failure, until } if now < *until => Some(Err(failure.clone())),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Knows none yet. Asks through `transport`, so authorization servers are held to the same
    /// address policy as receivers.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, clock: Clock) -> Self {
        Self { transport, clock, slots: Mutex::default() }
    }

    /// What requests go through.
    pub(super) fn transport(&self) -> &dyn Transport {
        &*self.transport
    }

    /// Makes one attempt of a delivery to `webhook`: sends what `build` gives, with a token when
    /// the webhook has OAuth. After a 401 it fetches another token once and sends again, still as
    /// the same attempt; `build` is called once more then. The timeout of the request limits all
    /// of it together, and the duration of the outcome is that of all of it.
    ///
    /// When there is no token the outcome is [`ErrorKind::Oauth`], and the failure says why.
    pub async fn send(
        &self,
        webhook: &Webhook,
        user_agent: &HeaderValue,
        build: impl Fn() -> Request + Send,
    ) -> (Outcome, Option<OAuthFailure>) {
        let request = build();
        if webhook.oauth.is_none() {
            return (self.transport.send(pool_key(webhook.id), request).await, None);
        }
        let began = self.clock.elapsed();
        let deadline = began.saturating_add(request.timeout);
        let failed = |failure| {
            let duration = self.clock.elapsed().saturating_sub(began);
            (Outcome { duration, ..Outcome::failed(ErrorKind::Oauth) }, Some(failure))
        };
        let token = match self.access_token(webhook, user_agent, deadline).await {
            Ok(token) => token,
            Err(failure) => return failed(failure),
        };
        let outcome = self.send_with(&token, webhook, request, began, deadline).await;
        let left = deadline.saturating_sub(self.clock.elapsed());
        if outcome.result != Ok(401) || left < SECOND_TRY_MIN {
            return (outcome, None);
        }
        self.reject(webhook, &token);
        match self.access_token(webhook, user_agent, deadline).await {
            Ok(token) => (self.send_with(&token, webhook, build(), began, deadline).await, None),
            Err(failure) => failed(failure),
        }
    }

    async fn send_with(
        &self,
        token: &AccessToken,
        webhook: &Webhook,
        mut request: Request,
        began: Duration,
        deadline: Duration,
    ) -> Outcome {
        request.headers.insert(AUTHORIZATION, token.header());
        let now = self.clock.elapsed();
        request.timeout = deadline.saturating_sub(now);
        let mut outcome = self.transport.send(pool_key(webhook.id), request).await;
        outcome.duration += now.saturating_sub(began);
        outcome
    }

    /// A token that is good now: a known one, or a fresh one. Whoever comes while one is being
    /// fetched waits for it. `deadline` is an instant of the clock's monotonic part; nothing is
    /// waited for beyond it.
    ///
    /// Dropping the future closes the connection to the server; the next in line then asks.
    ///
    /// # Errors
    /// [`OAuthFailure`]. For a moment it is also that of everybody else who asks for this webhook,
    /// unless it was only this deadline that was too short.
    pub async fn access_token(
        &self,
        webhook: &Webhook,
        user_agent: &HeaderValue,
        deadline: Duration,
    ) -> Result<AccessToken, OAuthFailure> {
        let Some(oauth) = &webhook.oauth else {
            return Err(OAuthFailure::new("the webhook has no OAuth settings"));
        };
        let slot = self.slot(webhook.id, oauth);
        let now = self.clock.elapsed();
        if let Some(answer) = slot.answer(now) {
            return answer;
        }
        let patience = deadline.saturating_sub(now);
        let Ok(_turn) = timeout(patience, slot.turn.lock()).await else {
            return Err(OAuthFailure::late(patience));
        };
        let asked_at = self.clock.elapsed();
        if let Some(answer) = slot.answer(asked_at) {
            return answer;
        }
        if asked_at >= deadline {
            return Err(OAuthFailure::late(patience));
        }
        let fetched = self.fetch(webhook.id, oauth, user_agent, deadline - asked_at).await;
        let now = self.clock.elapsed();
        match fetched {
            Ok((token, life)) => {
                let until = asked_at + life.saturating_sub(MARGIN_MAX.min(life / 10));
                *slot.known() = Known::Token { token: token.clone(), until };
                Ok(token)
            }
            Err(failure) => {
                if now < deadline {
                    *slot.known() = Known::Failure { failure: failure.clone(), until: now + FAILURE_SHARED };
                }
                Err(failure)
            }
        }
    }

    /// The receiver did not accept this token: forgets it, unless another one is known already.
    pub fn reject(&self, webhook: &Webhook, rejected: &AccessToken) {
        let Some(slot) = self.slots().get(&webhook.id).cloned() else { return };
        let mut known = slot.known();
        if matches!(&*known, Known::Token { token, .. } if token.is(rejected)) {
            *known = Known::Nothing;
        }
    }

    /// Forgets what belongs to webhooks that are not wanted any more.
    pub fn retain(&self, is_wanted: impl Fn(WebhookId) -> bool) {
        self.slots().retain(|id, _| is_wanted(*id));
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<WebhookId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a webhook's token is, an empty place when its settings are new.
    fn slot(&self, id: WebhookId, oauth: &OAuth) -> Arc<Slot> {
        let fresh = || {
            let (turn, known) = (tokio::sync::Mutex::new(()), Mutex::new(Known::Nothing));
            Arc::new(Slot { settings: oauth.clone(), turn, known })
        };
        let mut slots = self.slots();
        let slot = slots.entry(id).or_insert_with(fresh);
        if slot.settings != *oauth {
            *slot = fresh();
        }
        Arc::clone(slot)
    }

    /// Asks the server. Gives the token and how long it lives from the moment it was asked for.
    async fn fetch(
        &self,
        id: WebhookId,
        oauth: &OAuth,
        user_agent: &HeaderValue,
        patience: Duration,
    ) -> Result<(AccessToken, Duration), OAuthFailure> {
        let request = token_request(oauth, user_agent, patience)
            .ok_or_else(|| OAuthFailure::new("the OAuth settings can not be sent; enter them again"))?;
        let began = self.clock.elapsed();
        // No delivery goes over the connection of a token request, whatever it was opened with.
        let (outcome, body) = self.transport.fetch(!pool_key(id), request, ANSWER_MAX).await;
        let code = match outcome.result {
            Ok(code) => code,
            Err(_) if self.clock.elapsed() >= began + patience => return Err(OAuthFailure::late(patience)),
            Err(kind) => return Err(OAuthFailure::new(words_of(kind))),
        };
        match (code, body) {
            (200..=299, Some(body)) => {
                let read = answer::read(&body);
                wipe(body);
                let (authorization, life) = read.map_err(OAuthFailure::new)?;
                Ok((AccessToken { authorization: Arc::new(authorization) }, life))
            }
            (200..=299, None) if self.clock.elapsed() >= began + patience => Err(OAuthFailure::late(patience)),
            (200..=299, None) => Err(OAuthFailure::new("the answer is larger than 64 KiB, or breaks off")),
            (300..=399, _) => {
                Err(OAuthFailure::new(format!("the authorization server answered {code}; redirects are not followed")))
            }
            _ => Err(OAuthFailure::new(format!("the authorization server answered {code}"))),
        }
    }
}

fn token_request(oauth: &OAuth, user_agent: &HeaderValue, timeout: Duration) -> Option<Request> {
    let (media_type, body) = oauth.body();
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(USER_AGENT, user_agent.clone());
    if let Some(authorization) = oauth.authorization() {
        headers.insert(AUTHORIZATION, sensitive(authorization.expose())?);
    }
    let body = Bytes::copy_from_slice(body.expose().as_bytes());
    Some(Request { url: Url::parse(&oauth.endpoint).ok()?, headers, body, timeout, tls: None, slot: None })
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Overwrites an answer that held a token, when nobody else still has it.
fn wipe(body: Bytes) {
    if let Ok(mut body) = body.try_into_mut() {
        body[..].zeroize();
    }
}

const fn words_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Dns => "the name of the authorization server does not resolve",
        ErrorKind::Refused => "the authorization server refuses the connection, or no route leads to it",
        ErrorKind::Blocked => "the address of the authorization server is blocked: [egress] does not permit it",
        ErrorKind::ConnectTimeout => "no connection to the authorization server in time",
        ErrorKind::Tls => "the TLS handshake with the authorization server failed",
        ErrorKind::Reset => "the authorization server closed the connection without an answer",
        ErrorKind::BadResponse => "the authorization server did not answer as HTTP should",
        ErrorKind::Timeout => "no answer of the authorization server in time",
        ErrorKind::Oauth | ErrorKind::Damaged => "the authorization server could not be asked",
    }
}

#[cfg(test)]
mod tests;
