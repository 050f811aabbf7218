//! Figures over the last hour or day: what was accepted, what attempts came to, what waits and for
//! how long.
//!
//! It adds up nothing itself; the parts do while they work. Invariant: every series of an answer has
//! the same slices.

use std::collections::HashSet;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::{Admin, Call, Refusal, Reply, reply};
use crate::admin::protocol::{SeriesView, StatsView, WebhookStats};
use crate::admin::views;
use crate::dispatch::Standing;
use crate::domain::figures::{Figures, Window};
use crate::domain::id::WebhookId;
use crate::domain::time::{Now, Timestamp};
use crate::domain::webhook::Webhook;

impl Admin {
    pub(super) async fn stats(&self, call: &Call) -> Reply {
        call.only(&Method::GET, "GET")?;
        call.check_params(&["window", "v"])?;
        let window = Window::parse(call.param("window").unwrap_or("1h"));
        let window = window.ok_or_else(|| Refusal::Bad("window must be 1h or 24h".to_owned()))?;
        let (store, dispatcher) = (&self.shared.store, &self.shared.dispatcher);
        let config = store.config();
        let mut webhooks: Vec<&Arc<Webhook>> = config.webhooks.values().filter(|webhook| webhook.exists()).collect();
        webhooks.sort_by(|a, b| a.name.cmp(&b.name));
        let ids: Vec<WebhookId> = webhooks.iter().map(|webhook| webhook.id).collect();
        let now = store.clock().read();
        let standings = dispatcher.survey(&ids, now);
        let with_pending = |(id, standing): (&WebhookId, &Option<Standing>)| {
            standing.is_some_and(|standing| standing.status.pending > 0).then_some(*id)
        };
        let waiting: HashSet<WebhookId> = ids.iter().zip(&standings).filter_map(with_pending).collect();
        let oldest = if waiting.is_empty() { Default::default() } else { store.oldest_pending_of(waiting).await };
        let known = || standings.iter().flatten();
        let pending = known().map(|standing| standing.status.pending).sum();
        let (starts_at, since) = (window.starts_at(now), dispatcher.counting_since(now));
        let (due, waiting_retry) =
            (known().map(|standing| standing.due).sum(), known().map(|standing| standing.waiting_retry).sum());
        let each = webhooks.iter().zip(&standings).map(|(webhook, standing)| {
            self.webhook_stats(webhook, standing.as_ref(), oldest.get(&webhook.id).copied(), window, now)
        });
        let view = StatsView {
            at: now.wall.to_string(),
            starts_at: starts_at.to_string(),
            counting_since: (since >= starts_at).then(|| since.to_string()),
            slice_seconds: window.slice().as_secs(),
            accepted: store.accepted_over(window, now),
            total: series(&dispatcher.figures_of_all(window, now)),
            webhooks: each.collect(),
            pending,
            due,
            waiting_retry,
            drain_seconds: dispatcher.drain(pending, now).map(|drain| drain.as_secs()),
        };
        reply(StatusCode::OK, &view)
    }

    fn webhook_stats(
        &self,
        webhook: &Webhook,
        standing: Option<&Standing>,
        oldest: Option<Timestamp>,
        window: Window,
        now: Now,
    ) -> WebhookStats {
        let (figures, last) = match self.shared.dispatcher.figures(webhook.id, window, now) {
            Some((figures, last)) => (figures, last),
            None => (Figures::none(window), None),
        };
        let status = standing.map(|standing| standing.status);
        let next = standing.and_then(|standing| standing.next_start);
        WebhookStats {
            id: webhook.id.to_string(),
            name: webhook.name.clone(),
            series: series(&figures),
            last_code: last.map(|last| last.result.unwrap_or(0)),
            last_error: last.and_then(|last| last.result.err()).map(|kind| kind.as_str().to_owned()),
            last_at: last.map(|last| last.at.to_string()),
            last_success_at: last.and_then(|last| last.success_at).map(|at| at.to_string()),
            failing_since: last.and_then(|last| last.failing_since).map(|at| at.to_string()),
            failing: webhook.active && status.is_some_and(|status| status.failing),
            pending: status.map_or(0, |status| status.pending),
            in_flight: status.map_or(0, |status| status.in_flight),
            next_attempt_at: next.map(|next| now.wall.plus(next.saturating_sub(now.elapsed)).to_string()),
            oldest_pending_at: oldest.map(|at| at.to_string()),
        }
    }
}

fn series(figures: &Figures) -> SeriesView {
    let column = |column: usize| figures.slices.iter().map(|slice| u64::from(slice[column])).collect::<Vec<u64>>();
    SeriesView {
        no_response: column(0),
        success: column(1),
        redirection: column(2),
        client_error: column(3),
        server_error: column(4),
        failed: column(crate::domain::figures::FAILED),
        resent: column(crate::domain::figures::RESENT).iter().sum(),
        p50_ms: figures.p50.map(views::milliseconds),
        p95_ms: figures.p95.map(views::milliseconds),
        p99_ms: figures.p99.map(views::milliseconds),
    }
}
