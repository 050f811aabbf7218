//! Changing the configuration: one change at a time, durable before it is in force.
//!
//! It does not check what is stored; that is the admin server's.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::{Config, Store, StoreError, Token, config};
use crate::domain::event_type::CustomType;
use crate::domain::id::WebhookId;
use crate::domain::webhook::Webhook;
use crate::journal::{Collection, ConfigRecord, Record};

impl Store {
    /// Changes a webhook: `change` gets the present configuration and says what to store.
    ///
    /// # Errors
    /// What `change` says, or that it could not be made durable.
    pub async fn change_webhook<E: From<StoreError>>(
        &self,
        change: impl FnOnce(&Config) -> Result<Webhook, E>,
    ) -> Result<Arc<Webhook>, E> {
        let turn = Arc::clone(&self.shared.changing).lock_owned().await;
        let config = self.config();
        let webhook = Arc::new(change(&config)?);
        let record = ConfigRecord {
            collection: Collection::Webhook,
            key: Bytes::copy_from_slice(webhook.id.as_bytes()),
            version: webhook.version,
            at: webhook.updated_at,
            by: webhook.updated_by.clone(),
            body: Some(super::stored::webhook_to_bytes(&webhook, &self.shared.sealer).into()),
        };
        let mut webhooks = config.webhooks.clone();
        webhooks.insert(webhook.id, Arc::clone(&webhook));
        let after = Config::new(config.generation + 1, webhooks, config.tokens.clone(), config.event_types.clone());
        self.put_in_force(turn, record, after).await?;
        Ok(webhook)
    }

    /// Removes a deleted webhook for good.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn forget_webhook(&self, id: WebhookId, by: &str) -> Result<(), StoreError> {
        let turn = Arc::clone(&self.shared.changing).lock_owned().await;
        let config = self.config();
        let mut webhooks = config.webhooks.clone();
        let Some(webhook) = webhooks.remove(&id) else { return Ok(()) };
        let record = ConfigRecord {
            collection: Collection::Webhook,
            key: Bytes::copy_from_slice(id.as_bytes()),
            version: webhook.version + 1,
            at: self.shared.clock.now(),
            by: by.to_owned(),
            body: None,
        };
        let after = Config::new(config.generation + 1, webhooks, config.tokens.clone(), config.event_types.clone());
        self.put_in_force(turn, record, after).await
    }

    /// Sets (`Some`) or removes an ingest token.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn change_token(&self, name: &str, token: Option<Token>, by: &str) -> Result<(), StoreError> {
        let turn = Arc::clone(&self.shared.changing).lock_owned().await;
        let config = self.config();
        let record = ConfigRecord {
            collection: Collection::Token,
            key: Bytes::copy_from_slice(name.as_bytes()),
            version: 1,
            at: self.shared.clock.now(),
            by: by.to_owned(),
            body: token.as_ref().map(|token| config::token_to_bytes(token).into()),
        };
        let mut tokens = config.tokens.clone();
        match token {
            Some(token) => tokens.insert(name.to_owned(), Arc::new(token)),
            None => tokens.remove(name),
        };
        let after = Config::new(config.generation + 1, config.webhooks.clone(), tokens, config.event_types.clone());
        self.put_in_force(turn, record, after).await
    }

    /// Sets or removes an event type of the operator's own: `change` gets the present configuration
    /// and says what to store, or `None` to remove it.
    ///
    /// # Errors
    /// What `change` says, or that it could not be made durable.
    pub async fn change_event_type<E: From<StoreError>>(
        &self,
        name: &str,
        by: &str,
        change: impl FnOnce(&Config) -> Result<Option<CustomType>, E>,
    ) -> Result<Option<Arc<CustomType>>, E> {
        let turn = Arc::clone(&self.shared.changing).lock_owned().await;
        let config = self.config();
        let custom = change(&config)?.map(Arc::new);
        let before = config.event_types.get(name).map_or(0, |before| before.version);
        let record = ConfigRecord {
            collection: Collection::EventType,
            key: Bytes::copy_from_slice(name.as_bytes()),
            version: custom.as_ref().map_or(before + 1, |custom| custom.version),
            at: custom.as_ref().map_or_else(|| self.shared.clock.now(), |custom| custom.updated_at),
            by: by.to_owned(),
            body: custom.as_ref().map(|custom| config::event_type_to_bytes(custom).into()),
        };
        let mut event_types = config.event_types.clone();
        match &custom {
            Some(custom) => event_types.insert(name.to_owned(), Arc::clone(custom)),
            None => event_types.remove(name),
        };
        let after = Config::new(config.generation + 1, config.webhooks.clone(), config.tokens.clone(), event_types);
        self.put_in_force(turn, record, after).await?;
        Ok(custom)
    }

    /// Makes a change durable and then puts it in force. Goes on when whoever asked goes away: a
    /// change that is on the disk and not in force would come as a surprise at the next start.
    async fn put_in_force(
        &self,
        turn: OwnedMutexGuard<()>,
        record: ConfigRecord,
        after: Config,
    ) -> Result<(), StoreError> {
        let store = self.clone();
        let work = tokio::spawn(async move {
            let ticket = store.shared.journal.append(Record::Config(record))?;
            store.settle(ticket.await)?;
            store.shared.config.store(Arc::new(after));
            store.shared.revisions.configuration_changed();
            store.shared.arrivals.wake.notify_one();
            drop(turn);
            Ok(())
        });
        work.await.unwrap_or_else(|error| Err(StoreError::Io(error.to_string())))
    }
}
