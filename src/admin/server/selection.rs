//! Which deliveries a change of many is for, and walking through them page by page.
//!
//! Decides nothing about a delivery and keeps nothing. Its invariant: a page never holds more than
//! it was asked for, and what the walk finds is as fresh as the call.

use std::sync::Arc;

use crate::domain::delivery::State;
use crate::domain::id::DeliveryId;
use crate::index::{Found, Order, Page, Query, Walk};
use crate::journal::Record;
use crate::store::{Store, StoreError};

/// Rows one page may look at.
pub(super) const BUDGET: usize = 20_000;
/// Payloads one page may look into.
pub(super) const BUDGET_INSIDE: usize = 1_000;

/// Which deliveries are meant: those that everything given matches.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// What the index can search for; one state or code at most.
    pub query: Query,
    /// Any of these states; empty for every one.
    pub states: Vec<State>,
    /// Any of these codes of the last attempt; empty for every one.
    pub codes: Vec<u16>,
    /// This text within the payload or a reference, in lower case.
    pub text: Option<String>,
}

impl Selection {
    /// Whether a delivery is one of those meant, apart from the text, which never changes.
    pub(super) fn matches(&self, found: &Found) -> bool {
        let deleted = self.query.deleted_webhooks.contains(&found.webhook);
        let state = match found.delivery.state() {
            State::Pending if deleted => State::Cancelled,
            state => state,
        };
        let code = found.attempts.last().map(|last| last.outcome.code());
        self.query.matches(found)
            && (self.states.is_empty() || self.states.contains(&state))
            && (self.codes.is_empty() || code.is_some_and(|code| self.codes.contains(&code)))
    }

    fn walk(&self, before: Option<DeliveryId>, limit: usize) -> Walk {
        let budget = if self.text.is_some() { BUDGET_INSIDE } else { BUDGET };
        Walk { from: before, order: Order::NewestFirst, limit, budget }
    }

    /// Shows every delivery of one page's worth to `each`; tells where to go on, if not at the end.
    ///
    /// # Errors
    /// `IndexAway`, `Busy`, `Failed`.
    pub(super) async fn fold<T: Send + 'static>(
        self: &Arc<Self>,
        store: &Store,
        before: Option<DeliveryId>,
        mut folded: T,
        mut each: impl FnMut(&mut T, &Found) + Send + 'static,
    ) -> Result<(T, Option<DeliveryId>), StoreError> {
        let (selection, payloads) = (Arc::clone(self), store.clone());
        let walk = self.walk(before, usize::MAX);
        store
            .find(move |index| {
                // Nothing is collected, so a page may be as long as its budget.
                let page = index.deliveries(&selection.query, walk, |found| {
                    if selection.takes(&payloads, found) {
                        each(&mut folded, found);
                    }
                    false
                })?;
                Ok((folded, page.next))
            })
            .await
    }

    /// The next deliveries, newest first, at most `limit` of them.
    ///
    /// # Errors
    /// `IndexAway`, `Busy`, `Failed`.
    pub(super) async fn page(
        self: &Arc<Self>,
        store: &Store,
        before: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Page<DeliveryId>, StoreError> {
        let (selection, payloads) = (Arc::clone(self), store.clone());
        let walk = self.walk(before, limit);
        let page = store
            .find(move |index| index.deliveries(&selection.query, walk, |found| selection.takes(&payloads, found)))
            .await?;
        Ok(Page { rows: page.rows.iter().map(|found| found.id).collect(), next: page.next })
    }

    fn takes(&self, store: &Store, found: &Found) -> bool {
        self.matches(found) && self.text.as_ref().is_none_or(|wanted| holds_text(store, found, wanted))
    }
}

/// Whether a text, in lower case, is in a reference of the event or in its payload. Reads a file.
pub(super) fn holds_text(store: &Store, found: &Found, wanted: &str) -> bool {
    let event = &found.event.event;
    if event.references.as_slice().iter().any(|one| one.to_lowercase().contains(wanted)) {
        return true;
    }
    match store.journal().read(found.event.location).as_deref() {
        Ok(Record::Event { payload, .. } | Record::Carry { payload, .. }) => {
            String::from_utf8_lossy(payload).to_lowercase().contains(wanted)
        }
        _ => false,
    }
}
