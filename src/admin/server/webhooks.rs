//! Creating, changing and deleting webhooks.
//!
//! What a document means is decided in `writes`; a change that began from an old version is refused.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Admin, Call, Refusal, Reply, audit, reply};
use crate::admin::protocol::{PageView, WebhookView};
use crate::admin::{views, writes};
use crate::domain::id::WebhookId;
use crate::domain::secret::Secret;
use crate::domain::signature::SigningKey;
use crate::domain::webhook::{FieldProblem, Webhook};
use crate::egress::TlsProfile;
use crate::store::{Config, StoreError};

const ONE: &str = "GET, PUT, PATCH, DELETE";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateKey {
    signing_key: String,
    /// How long the old key goes on signing; 0: not at all.
    #[serde(default)]
    keep_previous_seconds: Option<u64>,
}

impl Admin {
    pub(super) async fn webhooks(&self, call: &Call, rest: &[&str]) -> Reply {
        match rest {
            [] if call.method == Method::GET => self.list_webhooks(call),
            [] if call.method == Method::POST => self.create_webhook(call).await,
            [] => Err(Refusal::Method("GET, POST")),
            // A webhook of that name is still tested by `test/test`.
            ["test"] if call.method == Method::POST => self.test_unsaved(call).await,
            [name] => match call.method {
                Method::GET => {
                    let webhook = self.find_webhook(name)?;
                    reply(StatusCode::OK, &self.webhook_view(&webhook))
                }
                Method::PUT | Method::PATCH => self.edit_webhook(call, name).await,
                Method::DELETE => self.delete_webhook(call, name).await,
                _ => Err(Refusal::Method(ONE)),
            },
            [name, verb @ ("pause" | "resume")] => {
                call.only(&Method::POST, "POST")?;
                self.pause_webhook(call, name, *verb == "pause").await
            }
            [name, "test"] => {
                call.only(&Method::POST, "POST")?;
                self.test_saved(call, name).await
            }
            [name, "restore"] => {
                call.only(&Method::POST, "POST")?;
                self.restore_webhook(call, name).await
            }
            [name, "rotate-key"] => {
                call.only(&Method::POST, "POST")?;
                self.rotate_key(call, name).await
            }
            [name, "clone"] => self.clone_webhook(call, name).await,
            [name, "plan"] => {
                call.only(&Method::GET, "GET")?;
                reply(StatusCode::OK, &views::plan(&*self.find_webhook(name)?))
            }
            [name, "secrets", field] => self.reveal(call, name, field).await,
            _ => Err(super::no_such(&format!("/v1/webhooks/{}", rest.join("/")))),
        }
    }

    pub(super) fn webhook_view(&self, webhook: &Webhook) -> WebhookView {
        views::webhook(webhook, self.shared.dispatcher.lane(webhook.id), self.shared.store.clock().now())
    }

    pub(super) fn own_types(&self) -> writes::OwnTypes {
        self.shared.store.config().event_types.clone()
    }

    pub(super) fn find_webhook(&self, name: &str) -> Result<Arc<Webhook>, Refusal> {
        let config = self.shared.store.config();
        config.webhook(name).cloned().ok_or_else(|| unknown(name))
    }

    fn list_webhooks(&self, call: &Call) -> Reply {
        call.check_params(&["deleted"])?;
        let deleted = match call.param("deleted") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Refusal::Bad("deleted must be true or false".to_owned())),
        };
        let config = self.shared.store.config();
        let mut listed: Vec<_> = config.webhooks.values().filter(|webhook| deleted || webhook.exists()).collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        let items = listed.into_iter().map(|webhook| self.webhook_view(webhook)).collect();
        reply(StatusCode::OK, &PageView { items, cursor: None })
    }

    async fn create_webhook(&self, call: &Call) -> Reply {
        let document = call.document()?;
        let options = self.shared.options.load_full();
        let id = WebhookId::new(call.author.now, self.shared.store.random().bits());
        let mut webhook = writes::blank(id, &call.author, &options.defaults);
        let problems = writes::merge(&mut webhook, &document, &call.author, &options.defaults, &self.own_types());
        self.check(&webhook, problems).await?;
        let saved = self.save(call, webhook, name_is_free).await?;
        self.note_webhook(call, "webhook.create", &saved, audit::created(&saved)).await;
        reply(StatusCode::CREATED, &self.webhook_view(&saved))
    }

    async fn edit_webhook(&self, call: &Call, name: &str) -> Reply {
        let document = call.document()?;
        let options = self.shared.options.load_full();
        let current = self.find_webhook(name)?;
        self.check_version(&current, &document)?;
        // PUT replaces everything that is not a secret or an identity; PATCH only what is sent.
        let (webhook, problems) = if call.method == Method::PUT {
            writes::replaced(&current, &document, &call.author, &options.defaults, &self.own_types())
        } else {
            let mut webhook = Webhook::clone(&current);
            let problems = writes::merge(&mut webhook, &document, &call.author, &options.defaults, &self.own_types());
            (webhook, problems)
        };
        self.check(&webhook, problems).await?;
        let saved = self
            .save(call, webhook, |config, webhook| {
                name_is_free(config, webhook)?;
                let now = config.webhooks.get(&webhook.id).filter(|now| now.exists()).ok_or(StoreError::Gone)?;
                if now.version == current.version { Ok(()) } else { Err(self.conflict(now, &document)) }
            })
            .await?;
        self.note_edit(call, &current, &saved).await;
        reply(StatusCode::OK, &self.webhook_view(&saved))
    }

    fn check_version(&self, current: &Webhook, document: &Value) -> Result<(), Refusal> {
        match writes::version_of(document) {
            Some(version) if version != u64::from(current.version) => Err(self.conflict(current, document)),
            _ => Ok(()),
        }
    }

    fn conflict(&self, current: &Webhook, document: &Value) -> Refusal {
        let mut submitted = document.clone();
        // What was sent comes back without anything that may be a secret, well-formed or not.
        for field in ["signing_key", "oauth", "headers", "tls"] {
            if let Some(value) = submitted.get_mut(field).filter(|value| !value.is_null()) {
                *value = Value::from(views::MASKED);
            }
        }
        let detail = format!(
            "{} was changed meanwhile by {} and is at version {} now",
            current.name, current.updated_by, current.version
        );
        Refusal::Conflict { detail, current: Box::new(self.webhook_view(current)), submitted }
    }

    async fn delete_webhook(&self, call: &Call, name: &str) -> Reply {
        let mut webhook = Webhook::clone(&*self.find_webhook(name)?);
        webhook.deleted_at = Some(call.author.now);
        let saved = self.save(call, webhook, still_there).await?;
        self.note_webhook(call, "webhook.delete", &saved, Map::new()).await;
        reply(StatusCode::OK, &self.webhook_view(&saved))
    }

    async fn restore_webhook(&self, call: &Call, name: &str) -> Reply {
        let config = self.shared.store.config();
        let id = WebhookId::parse(name);
        let deleted = config.webhooks.values().filter(|webhook| !webhook.exists());
        // Of several with one name, the one deleted last is meant.
        let found =
            deleted.filter(|webhook| Some(webhook.id) == id || webhook.name == name).max_by_key(|w| w.deleted_at);
        let mut webhook = Webhook::clone(found.ok_or_else(|| {
            Refusal::NotFound(format!("no deleted webhook {name:?} can be restored; that is possible for 10 minutes"))
        })?);
        let deleted_at = webhook.deleted_at.take();
        let can_be_restored = |config: &Config, webhook: &Webhook| {
            name_is_free(config, webhook)?;
            let now = config.webhooks.get(&webhook.id).filter(|now| now.deleted_at == deleted_at);
            let in_time = deleted_at.is_some_and(|at| call.author.now.since(at) < Webhook::RESTORE_WINDOW);
            match now {
                Some(now) if now.version == webhook.version && in_time => Ok(()),
                Some(now) if now.version != webhook.version => still_there(config, webhook),
                _ => Err(Refusal::NotFound("the 10 minutes in which it could be restored are over".to_owned())),
            }
        };
        let saved = self.save(call, webhook, can_be_restored).await?;
        self.note_webhook(call, "webhook.restore", &saved, Map::new()).await;
        reply(StatusCode::OK, &self.webhook_view(&saved))
    }

    async fn pause_webhook(&self, call: &Call, name: &str, paused: bool) -> Reply {
        let mut webhook = Webhook::clone(&*self.find_webhook(name)?);
        if webhook.paused == paused {
            return reply(StatusCode::OK, &self.webhook_view(&webhook));
        }
        webhook.paused = paused;
        let saved = self.save(call, webhook, still_there).await?;
        let action = if paused { "webhook.pause" } else { "webhook.resume" };
        self.note_webhook(call, action, &saved, Map::new()).await;
        reply(StatusCode::OK, &self.webhook_view(&saved))
    }

    async fn rotate_key(&self, call: &Call, name: &str) -> Reply {
        let input: RotateKey = serde_json::from_slice(&call.body)
            .map_err(|error| Refusal::Bad(format!("the body is not what it should be: {error}")))?;
        let mut webhook = Webhook::clone(&*self.find_webhook(name)?);
        let keep = input.keep_previous_seconds.map_or(Webhook::ROTATION_WINDOW, Duration::from_secs);
        if keep > Webhook::ROTATION_WINDOW_MAX {
            let detail = "must be at most 2592000, which is 30 days";
            return Err(Refusal::Fields(vec![FieldProblem::new("keep_previous_seconds", detail)]));
        }
        let until = call.author.now.plus(keep);
        let had_one = webhook.signing_key.is_some();
        let previous = webhook.signing_key.map(|before| (before.current, until)).filter(|_| !keep.is_zero());
        webhook.signing_key =
            Some(SigningKey { current: Secret::new(input.signing_key), changed_at: call.author.now, previous });
        self.check(&webhook, Vec::new()).await?;
        let saved = self.save(call, webhook, still_there).await?;
        let mut told = Map::new();
        told.insert("changed".to_owned(), json!({"signing_key": if had_one { "replaced" } else { "set" }}));
        told.insert("keep_previous_seconds".to_owned(), keep.as_secs().into());
        self.note_webhook(call, "webhook.rotate-key", &saved, told).await;
        reply(StatusCode::OK, &self.webhook_view(&saved))
    }

    /// Everything that is wrong with the fields of a webhook, besides what is known already.
    pub(super) fn field_problems(&self, webhook: &Webhook, mut problems: Vec<FieldProblem>) -> Vec<FieldProblem> {
        let options = self.shared.options.load_full();
        let reserved: Vec<&str> = options.reserved_headers.iter().map(String::as_str).collect();
        for problem in webhook.problems(&reserved) {
            // A field that could not be read is not also told to be empty.
            if !problems.iter().any(|known| problem.field.starts_with(&known.field)) {
                problems.push(problem);
            }
        }
        if !problems.iter().any(|problem| problem.field.starts_with("tls"))
            && let Err(problem) = TlsProfile::new(&webhook.tls)
        {
            problems.push(FieldProblem::new(problem.field, problem.detail));
        }
        problems
    }

    /// Everything that is wrong with a webhook, the address of its receiver included.
    pub(super) async fn check(&self, webhook: &Webhook, problems: Vec<FieldProblem>) -> Result<(), Refusal> {
        let mut problems = self.field_problems(webhook, problems);
        let endpoint = webhook.oauth.as_ref().map(|oauth| ("oauth.endpoint", oauth.endpoint.as_str()));
        for (field, url) in std::iter::once(("url", webhook.url.as_str())).chain(endpoint) {
            if !problems.iter().any(|problem| problem.field == field)
                && let Ok(url) = Url::parse(url)
                && let Err(problem) = self.shared.egress.check_url(&url).await
            {
                problems.push(FieldProblem::new(field, problem.to_string()));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Refusal::Fields(problems)) }
    }

    /// Stores the next version, if `allowed` still says so when it is its turn.
    pub(super) async fn save(
        &self,
        call: &Call,
        webhook: Webhook,
        allowed: impl FnOnce(&Config, &Webhook) -> Result<(), Refusal>,
    ) -> Result<Arc<Webhook>, Refusal> {
        let author = call.author.clone();
        self.shared
            .store
            .change_webhook(move |config| {
                allowed(config, &webhook)?;
                let before = config.webhooks.get(&webhook.id).map_or(0, |before| before.version);
                Ok(Webhook { version: before + 1, updated_at: author.now, updated_by: author.name, ..webhook })
            })
            .await
    }
}

fn unknown(name: &str) -> Refusal {
    let name: String = name.chars().take(80).collect();
    Refusal::NotFound(format!("there is no webhook {name:?}"))
}

pub(super) fn name_is_free(config: &Config, webhook: &Webhook) -> Result<(), Refusal> {
    let other = config.webhooks.values().find(|other| other.exists() && other.name == webhook.name);
    match other.filter(|other| other.id != webhook.id) {
        Some(other) => Err(Refusal::Taken(format!("the name {:?} is taken by {}", webhook.name, other.id))),
        None => Ok(()),
    }
}

/// A change that does not look at versions still must not overwrite one it has not seen.
pub(super) fn still_there(config: &Config, webhook: &Webhook) -> Result<(), Refusal> {
    match config.webhooks.get(&webhook.id) {
        Some(now) if now.exists() && now.version == webhook.version => Ok(()),
        Some(now) if now.exists() => Err(Refusal::Taken("it was changed at the same moment; try again".to_owned())),
        _ => Err(Refusal::Store(StoreError::Gone)),
    }
}
