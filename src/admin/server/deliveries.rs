//! Searching and showing deliveries and events, resending and cancelling.
//!
//! What a resend or a withdrawal means is the dispatcher's to decide; here it is only asked for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::links::dead_in;
use super::selection::{BUDGET, BUDGET_INSIDE, holds_text};
use super::{Admin, Call, Params, Refusal, Reply, no_such, reply};
use crate::admin::protocol::{DeliveryView, Done, EventView, PageView, Resent};
use crate::admin::{views, writes};
use crate::dispatch::{Place, Prepared};
use crate::domain::attempt::Class;
use crate::domain::delivery::State;
use crate::domain::id::{DeliveryId, EventId, WebhookId, decode_opaque, encode_opaque};
use crate::domain::references::References;
use crate::domain::time::Timestamp;
use crate::domain::webhook::Webhook;
use crate::http::typed;
use crate::index::{Found, Order, Page, Query, Walk};
use crate::journal::Record;
use crate::store::{Config, StoreError};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 500;

const FILTERS: [&str; 14] = [
    "ref", "q", "webhook", "type", "class", "code", "state", "since", "until", "limit", "cursor", "from", "order", "v",
];

impl Admin {
    pub(super) async fn deliveries(&self, call: &Call, rest: &[&str]) -> Reply {
        match rest {
            [] => {
                call.only(&Method::GET, "GET")?;
                self.list_deliveries(call).await
            }
            [id] => {
                call.only(&Method::GET, "GET")?;
                self.show_delivery(delivery_id(id)?).await
            }
            [id, "payload"] => {
                call.only(&Method::GET, "GET")?;
                let id = delivery_id(id)?;
                self.shared.store.find(move |index| index.delivery(id)).await?.ok_or_else(|| gone(&id.to_string()))?;
                self.payload(id.event).await
            }
            [id, "resend"] => {
                call.only(&Method::POST, "POST")?;
                let id = delivery_id(id)?;
                let webhook = self.check_can_resend(id).await?;
                let warnings = self.link_warnings(id).await;
                self.shared.dispatcher.resend(id, &call.author.name).await?;
                let of = json!({"webhook": webhook.name, "webhook_id": webhook.id.to_string()});
                self.note(call, "delivery.resend", &id.to_string(), of).await;
                reply(StatusCode::ACCEPTED, &Resent { done: true, warnings })
            }
            [id, "cancel"] => {
                call.only(&Method::POST, "POST")?;
                let id = delivery_id(id)?;
                let found = self.shared.store.look(move |index| index.delivery(id)).await?;
                let done = self.shared.dispatcher.cancel(id, &call.author.name).await?;
                if let (true, Some(found)) = (done, found) {
                    let config = self.shared.store.config();
                    let name = config.webhooks.get(&found.webhook).map(|webhook| webhook.name.clone());
                    let of = json!({"webhook": name, "webhook_id": found.webhook.to_string()});
                    self.note(call, "delivery.cancel", &id.to_string(), of).await;
                }
                reply(StatusCode::OK, &Done { done })
            }
            _ => Err(no_such(&format!("/v1/deliveries/{}", rest.join("/")))),
        }
    }

    pub(super) async fn events(&self, call: &Call, rest: &[&str]) -> Reply {
        call.only(&Method::GET, "GET")?;
        match rest {
            [] => self.list_events(call).await,
            [id] => self.show_event(event_id(id)?).await,
            [id, "payload"] => self.payload(event_id(id)?).await,
            _ => Err(no_such(&format!("/v1/events/{}", rest.join("/")))),
        }
    }

    async fn list_deliveries(&self, call: &Call) -> Reply {
        call.check_params(&FILTERS)?;
        let config = self.shared.store.config();
        let Some(query) = query(&call.query, &config)? else {
            // A webhook of that name never was, or is gone with its deliveries.
            return reply(StatusCode::OK, &PageView::<DeliveryView> { items: Vec::new(), cursor: None });
        };
        let mut walk = walk(call)?;
        let page: Page<Found> = match call.param("q") {
            None => self.shared.store.look(move |index| index.deliveries(&query, walk, |_| true)).await?,
            Some(wanted) => {
                walk.budget = BUDGET_INSIDE;
                let (wanted, store) = (wanted.to_lowercase(), self.shared.store.clone());
                let inside = move |found: &Found| holds_text(&store, found, &wanted);
                self.shared.store.look(move |index| index.deliveries(&query, walk, inside)).await?
            }
        };
        let items = self.delivery_views(&page.rows, &config).await;
        reply(StatusCode::OK, &PageView { items, cursor: page.next.map(cursor_of) })
    }

    async fn delivery_views(&self, rows: &[Found], config: &Config) -> Vec<DeliveryView> {
        let mut then: HashMap<(WebhookId, u32), Option<Webhook>> = HashMap::new();
        let mut shown = Vec::with_capacity(rows.len());
        for found in rows {
            let key = (found.webhook, found.webhook_version);
            let then = match then.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                // Without it the row is shown with the webhook as it is now.
                Entry::Vacant(new) => new.insert(self.shared.store.webhook_version(key.0, key.1).await.ok().flatten()),
            };
            shown.push(self.delivery_view(found, config, then.as_ref()));
        }
        shown
    }

    fn delivery_view(&self, found: &Found, config: &Config, then: Option<&Webhook>) -> DeliveryView {
        let view = views::delivery(found, config, then, self.hold(found).as_deref());
        DeliveryView { sending: self.shared.dispatcher.is_sending(found.id), ..view }
    }

    /// Why a delivery that is due waits.
    fn hold(&self, found: &Found) -> Option<String> {
        let due = found.delivery.due_at()?;
        if due > self.shared.store.clock().now() {
            return None;
        }
        self.shared.dispatcher.hold(found.id, found.webhook, &found.delivery).map(|hold| hold.as_str().to_owned())
    }

    async fn show_delivery(&self, id: DeliveryId) -> Reply {
        let found = self.shared.store.find(move |index| index.delivery(id)).await?;
        let found = found.ok_or_else(|| gone(&id.to_string()))?;
        let config = self.shared.store.config();
        let then = self.shared.store.webhook_version(found.webhook, found.webhook_version).await.ok().flatten();
        let mut view = self.delivery_view(&found, &config, then.as_ref());
        view.attempts = Some(found.attempts.iter().map(views::attempt).collect());
        let sent_with = then.or_else(|| config.webhooks.get(&found.webhook).map(|now| Webhook::clone(now)));
        if let Some(prepared) = sent_with.and_then(|webhook| Prepared::new(webhook.into(), Ok(None))) {
            let names = self.shared.options.load().names.clone();
            let at = found.attempts.last().map_or_else(|| self.shared.store.clock().now(), |last| last.started_at);
            let mut request =
                prepared.request(&names, &found.event.event, id, Place::last(&found.delivery), Bytes::new(), at);
            if prepared.webhook.oauth.is_some() {
                // Which token it was is not known any more, and would be masked.
                let mut token = HeaderValue::from_static("Bearer");
                token.set_sensitive(true);
                request.headers.insert(header::AUTHORIZATION, token);
            }
            view.request = Some(views::request(&request));
        }
        let event = &found.event;
        let dead = dead_in(&self.shared.store, event.location, event.payload_length, event.event.created_at()).await;
        view.dead_links = dead.map(|dead| dead.count);
        reply(StatusCode::OK, &view)
    }

    async fn list_events(&self, call: &Call) -> Reply {
        call.check_params(&["ref", "type", "since", "until", "limit", "cursor", "from", "order", "v"])?;
        let config = self.shared.store.config();
        let query = query(&call.query, &config)?.unwrap_or_default();
        let walk = walk(call)?;
        let page = self.shared.store.look(move |index| index.events(&query, walk)).await?;
        let items: Vec<EventView> = page.rows.iter().map(views::event).collect();
        reply(StatusCode::OK, &PageView { items, cursor: page.next.map(cursor_of) })
    }

    async fn show_event(&self, id: EventId) -> Reply {
        let found = self.shared.store.find(move |index| index.event(id)).await?.ok_or_else(|| gone(&id.to_string()))?;
        let deliveries = self.shared.store.find(move |index| index.deliveries_of(id)).await?;
        let config = self.shared.store.config();
        let mut view = views::event(&found);
        view.delivery_list = Some(self.delivery_views(&deliveries, &config).await);
        reply(StatusCode::OK, &view)
    }

    /// The payload as it was posted.
    async fn payload(&self, id: EventId) -> Reply {
        let found = self.shared.store.find(move |index| index.event(id)).await?.ok_or_else(|| gone(&id.to_string()))?;
        let record = self.shared.store.read(found.location).await?;
        let (Record::Event { event, payload, .. } | Record::Carry { event, payload, .. }) = &*record else {
            return Err(Refusal::Store(StoreError::Damaged));
        };
        let mut answer = typed(StatusCode::OK, "application/json", payload.clone());
        if let Ok(media_type) = HeaderValue::from_str(&event.content_type) {
            answer.headers_mut().insert(header::CONTENT_TYPE, media_type);
        }
        Ok(answer)
    }

    /// A delivery whose webhook is gone has nowhere to be sent to.
    async fn check_can_resend(&self, id: DeliveryId) -> Result<Arc<Webhook>, Refusal> {
        let known = self.shared.store.pending_of(id).await.map_err(|error| match error {
            StoreError::Gone => gone(&id.to_string()),
            error => Refusal::Store(error),
        })?;
        let config = self.shared.store.config();
        match config.webhooks.get(&known.webhook).filter(|webhook| webhook.exists()) {
            Some(webhook) => Ok(Arc::clone(webhook)),
            None => Err(Refusal::Taken("its webhook was deleted; restore it, or post the event again".to_owned())),
        }
    }
}

fn gone(id: &str) -> Refusal {
    Refusal::NotFound(format!("{id} is not, or no longer, in the store"))
}

fn delivery_id(text: &str) -> Result<DeliveryId, Refusal> {
    DeliveryId::parse(text).ok_or_else(|| Refusal::NotFound("that is not the id of a delivery (dlv_…)".to_owned()))
}

fn event_id(text: &str) -> Result<EventId, Refusal> {
    EventId::parse(text).ok_or_else(|| Refusal::NotFound("that is not the id of an event (evt_…)".to_owned()))
}

fn cursor_of(id: DeliveryId) -> String {
    encode_opaque(&id.to_bytes())
}

/// How long a page may be.
pub(super) fn limit(call: &Call) -> Result<usize, Refusal> {
    match call.param("limit").map(str::parse::<usize>) {
        None => Ok(LIMIT_DEFAULT),
        Some(Ok(limit)) if limit > 0 => Ok(limit.min(LIMIT_MAX)),
        Some(_) => Err(Refusal::Bad("limit must be a number from 1 to 500".to_owned())),
    }
}

/// Which way a list is walked, and from where.
fn walk(call: &Call) -> Result<Walk, Refusal> {
    let limit = limit(call)?;
    let order = match call.param("order") {
        None | Some("newest") => Order::NewestFirst,
        Some("oldest") => Order::OldestFirst,
        Some(_) => return Err(Refusal::Bad("order must be newest or oldest".to_owned())),
    };
    let from = match (call.param("cursor"), call.param("from")) {
        (None, None) => None,
        (Some(_), Some(_)) => {
            return Err(Refusal::Bad("from and cursor both say where to begin: send one of them".to_owned()));
        }
        (Some(cursor), None) => {
            let id = decode_opaque(cursor).and_then(|bytes| DeliveryId::from_bytes(&bytes));
            Some(id.ok_or_else(|| Refusal::Bad("that is not a cursor of ours".to_owned()))?)
        }
        (None, Some(row)) => {
            let id = DeliveryId::parse(row).or_else(|| EventId::parse(row).map(|event| order.behind(event)));
            let wrong = || Refusal::Bad("from must be the id of a delivery (dlv_…) or of an event (evt_…)".to_owned());
            Some(id.ok_or_else(wrong)?)
        }
    };
    Ok(Walk { from, order, limit, budget: BUDGET })
}

/// The webhook with this name or id, a deleted one when there is no other. The id of one that is
/// gone still names its deliveries and what was done to it.
pub(super) fn webhook_called(config: &Config, name: &str) -> Option<WebhookId> {
    let deleted = || config.webhooks.values().find(|webhook| webhook.name == name);
    let known = config.webhook(name).or_else(deleted).map(|webhook| webhook.id);
    known.or_else(|| WebhookId::parse(name))
}

/// What the filters ask for; `None` when they can match nothing.
pub(super) fn query(params: &Params, config: &Config) -> Result<Option<Query>, Refusal> {
    // Cut as references are cut when they are stored.
    let wanted = params.get("ref").map(|text| References::from(vec![text.to_owned()]).into_vec().swap_remove(0));
    let mut query = Query { reference: wanted, ..Query::default() };
    if let Some(name) = params.get("webhook") {
        let Some(id) = webhook_called(config, name) else { return Ok(None) };
        query.webhook = Some(id);
    }
    if let Some(text) = params.get("type") {
        query.event_type = Some(writes::resolve_type(text, true, &config.event_types).map_err(Refusal::Bad)?);
    }
    for text in params.get("class").into_iter().flat_map(|text| text.split(',')) {
        let class =
            Class::parse(text).ok_or_else(|| Refusal::Bad("class must be 0, 2xx, 3xx, 4xx or 5xx".to_owned()))?;
        query.classes.push(class);
    }
    if let Some(text) = params.get("code") {
        let code = text.parse().map_err(|_| Refusal::Bad("code must be a number such as 503".to_owned()))?;
        query.code = Some(code);
    }
    if let Some(text) = params.get("state") {
        let state = State::parse(text);
        let wrong = || Refusal::Bad("state must be pending, delivered, failed, cancelled or skipped".to_owned());
        query.state = Some(state.ok_or_else(wrong)?);
    }
    query.since = params.get("since").map(instant).transpose()?;
    query.until = params.get("until").map(instant).transpose()?;
    query.deleted_webhooks =
        config.webhooks.values().filter(|webhook| !webhook.exists()).map(|webhook| webhook.id).collect();
    Ok(Some(query))
}

pub(super) fn instant(text: &str) -> Result<Timestamp, Refusal> {
    let wrong = || Refusal::Bad(format!("{text:?} is not an instant such as 2026-11-23T09:25:32Z"));
    let parsed: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    Ok(Timestamp::from_millis(u64::try_from(parsed.as_millisecond()).map_err(|_| wrong())?))
}
