//! Ingest tokens: made, listed, revoked. A token is shown once, when it is made.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Admin, Call, Refusal, Reply, no_such, reply};
use crate::admin::protocol::{Done, NewKey, PageView};
use crate::admin::{views, writes};
use crate::domain::id::encode_opaque;
use crate::store::{Store, Token};

impl Admin {
    pub(super) async fn keys(&self, call: &Call, rest: &[&str]) -> Reply {
        match rest {
            [] if call.method == Method::GET => {
                let config = self.shared.store.config();
                let shown =
                    config.tokens.values().map(|token| views::key(token, self.shared.ingest.last_used(&token.name)));
                reply(StatusCode::OK, &PageView { items: shown.collect(), cursor: None })
            }
            [] if call.method == Method::POST => self.create_key(call).await,
            [] => Err(Refusal::Method("GET, POST")),
            [name] => {
                call.only(&Method::DELETE, "DELETE")?;
                if !self.shared.store.config().tokens.contains_key(*name) {
                    return Err(Refusal::NotFound(format!("there is no token {name:?}")));
                }
                self.shared.store.change_token(name, None, &call.author.name).await?;
                self.note(call, "key.revoke", name, json!({})).await;
                reply(StatusCode::OK, &Done { done: true })
            }
            _ => Err(no_such(&format!("/v1/keys/{}", rest.join("/")))),
        }
    }

    async fn create_key(&self, call: &Call) -> Reply {
        let wanted: NewKey = serde_json::from_slice(&call.body)
            .map_err(|error| Refusal::Bad(format!("the body is not what it should be: {error}")))?;
        let valid = (1..=64).contains(&wanted.name.len())
            && wanted.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !valid {
            return Err(Refusal::Bad("the name must have 1 to 64 letters, digits, '-', '_' or '.'".to_owned()));
        }
        if self.shared.store.config().tokens.contains_key(&wanted.name) {
            return Err(Refusal::Taken(format!("there is a token {:?} already; revoke it first", wanted.name)));
        }
        let unknown = self.shared.options.load().defaults.accept_unknown_types;
        let own = &self.shared.store.config().event_types;
        let types = wanted.types.iter().map(|text| writes::resolve_type(text, unknown, own));
        let types = types.collect::<Result<Vec<_>, _>>().map_err(Refusal::Bad)?;
        let (token, secret) = new_token(&self.shared.store, &wanted.name, types, &call.author.name);
        let mut view = views::key(&token, None);
        view.token = Some(secret);
        let types = if token.types.is_empty() { json!({"types": "all"}) } else { json!({"types": token.types}) };
        self.shared.store.change_token(&wanted.name, Some(token), &call.author.name).await?;
        self.note(call, "key.create", &wanted.name, types).await;
        reply(StatusCode::CREATED, &view)
    }
}

/// What every token begins with, so that people and scanners see what it is.
pub const TOKEN_PREFIX: &str = "prt_";

/// A new token and what is kept of it. 32 random bytes: it can not be guessed.
fn new_token(store: &Store, name: &str, types: Vec<String>, by: &str) -> (Token, String) {
    let mut bytes = [0; 32];
    store.random().fill(&mut bytes);
    let secret = format!("{TOKEN_PREFIX}{}", encode_opaque(&bytes));
    let token = Token {
        name: name.to_owned(),
        digest: Token::digest_of(&secret),
        types,
        created_at: store.clock().now(),
        created_by: by.to_owned(),
    };
    (token, secret)
}

/// The token of a first start. `known` is one that a start before, which did not come to an end,
/// has already written to its file.
#[must_use]
pub fn default_token(store: &Store, known: Option<String>) -> (Token, String) {
    let (mut token, mut secret) = new_token(store, "default", Vec::new(), "postrider (first start)");
    if let Some(known) = known {
        token.digest = Token::digest_of(&known);
        secret = known;
    }
    (token, secret)
}
