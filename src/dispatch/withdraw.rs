//! Which deliveries of a webhook are still pending, for those who withdraw them all.
//!
//! Withdraws nothing itself: each delivery is cancelled through the dispatcher, one by one. Its
//! invariant: what is listed was durable before it was asked for.

use crate::domain::id::{DeliveryId, WebhookId};
use crate::index::Pending;
use crate::store::{Store, StoreError};

/// The deliveries of a webhook that are pending, for those who withdraw them all.
///
/// # Errors
/// `IndexAway`.
pub async fn pending_of_webhook(store: &Store, webhook: WebhookId) -> Result<Vec<DeliveryId>, StoreError> {
    store
        .find(move |index| {
            let mut ids = Vec::new();
            index.pending(|one: Pending| {
                if one.webhook == webhook {
                    ids.push(one.id);
                }
            })?;
            Ok(ids)
        })
        .await
}
