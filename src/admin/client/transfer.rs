//! The calls that move configuration about: export, import, copies, and secrets by name.
//!
//! Reads and writes no file. Everything it passes on is the daemon's to judge.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Call, Client, ClientError};
use crate::admin::protocol::{ImportView, PlanView, RevealView, WebhookView};

/// Each of many webhooks may have a name that takes seconds to resolve.
const IMPORT_MAX: Duration = Duration::from_mins(30);

/// A store can be large, and what it is written to slow.
const BACKUP_MAX: Duration = Duration::from_hours(12);

impl Client {
    /// Everything that is configured, secrets sealed.
    pub async fn export(&self) -> Result<Value, ClientError> {
        self.ask(Call::get(&["export"])).await
    }

    /// Brings the configuration in step with a document, or says what that would change.
    pub async fn import(&self, document: &Value, prune: bool, dry_run: bool) -> Result<ImportView, ClientError> {
        let body = json!({"document": document, "prune": prune, "dry_run": dry_run});
        let mut call = Call::post(&["import"]).json(&body)?;
        call.limit = IMPORT_MAX;
        self.ask(call).await
    }

    /// The whole store as one file, in pieces, in order. It is whole only if this ends well; a piece that `each`
    /// could not take ends it, with its error.
    pub async fn backup(&self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> Result<io::Result<()>, ClientError> {
        let mut response = self.response(Call::post(&["backup"]).within(BACKUP_MAX)).await?;
        loop {
            match response.chunk().await.map_err(|error| self.lost(&error, BACKUP_MAX))? {
                None => return Ok(Ok(())),
                Some(piece) => {
                    if let Err(error) = each(&piece) {
                        return Ok(Err(error));
                    }
                }
            }
        }
    }

    /// Makes a webhook like another, secrets included; `fields` holds its `name` and what differs.
    pub async fn clone_webhook(&self, webhook: &str, fields: &Value) -> Result<WebhookView, ClientError> {
        self.ask(Call::post(&["webhooks", webhook, "clone"]).json(fields)?).await
    }

    /// When deliveries are attempted while the receiver stays down.
    pub async fn plan(&self, webhook: &str) -> Result<PlanView, ClientError> {
        self.ask(Call::get(&["webhooks", webhook, "plan"])).await
    }

    /// One secret, by its name. Who asked is noted.
    pub async fn secret(&self, webhook: &str, field: &str) -> Result<RevealView, ClientError> {
        self.ask(Call::get(&["webhooks", webhook, "secrets", field])).await
    }
}
