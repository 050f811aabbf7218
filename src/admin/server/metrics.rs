//! Numbers for Prometheus: the text of `GET /metrics`, in either of its two formats.
//!
//! It measures nothing itself: counters are kept where things happen, the rest is what `status` says. Invariant: how many series
//! there are depends on the webhooks there are, of which so many at most have their own, and on nothing that anybody sends.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::{Admin, Refusal, no_such};
use crate::admin::protocol::Status;
use crate::dispatch::Standing;
use crate::domain::attempt::{Class, ErrorKind};
use crate::domain::counters::{CLASSES, Counters, DURATION_BOUNDS};
use crate::domain::id::WebhookId;
use crate::domain::text::printable;
use crate::domain::time::Timestamp;
use crate::domain::webhook::Webhook;
use crate::http::{Answer, typed};
use crate::maintenance::{Process, process};

/// So many webhooks have series of their own, the oldest first; the others are told together.
const WEBHOOKS_MAX: usize = 500;
/// The label of the others. No webhook can be called that: names hold no slash.
const OTHERS: &str = "/others";

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Admin {
    /// Answers on the port for metrics, where there is nothing else.
    pub async fn answer_metrics(&self, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
        let reply = match (path, method) {
            ("/metrics", &Method::GET) => Ok(self.metrics(headers).await),
            ("/metrics", _) => Err(Refusal::Method("GET")),
            (path, _) => Err(no_such(path)),
        };
        reply.unwrap_or_else(Refusal::answer)
    }

    pub(super) async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let scrape = self.scrape().await;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(scrape));
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let is_open = accept.flat_map(|value| value.split(',')).any(is_openmetrics);
        let mut body = String::new();
        let written =
            if is_open { text::encode(&mut body, &registry) } else { prometheus_text::encode(&mut body, &registry) };
        match written {
            Ok(()) => typed(StatusCode::OK, if is_open { OPENMETRICS } else { PROMETHEUS }, body.into()),
            // Writing to a String can not fail.
            Err(fmt::Error) => typed(StatusCode::INTERNAL_SERVER_ERROR, PROMETHEUS, bytes::Bytes::new()),
        }
    }

    async fn scrape(&self) -> Scrape {
        let status = self.report().await;
        let (store, dispatcher) = (&self.shared.store, &self.shared.dispatcher);
        let config = store.config();
        let mut webhooks: Vec<&Arc<Webhook>> = config.webhooks.values().filter(|webhook| webhook.exists()).collect();
        webhooks.sort_by_key(|webhook| webhook.id);
        let ids: Vec<WebhookId> = webhooks.iter().map(|webhook| webhook.id).collect();
        let now = store.clock().read();
        let standings = dispatcher.survey(&ids, now);
        let (mut of_webhooks, mut labels) = (Vec::<OfWebhook>::new(), HashSet::new());
        for (webhook, standing) in webhooks.into_iter().zip(standings) {
            let (counters, last) = dispatcher.counters(webhook.id).unwrap_or_default();
            let success_at = last.and_then(|last| last.success_at);
            let one = OfWebhook::new(webhook, standing.as_ref(), counters, success_at);
            if let Some(others) = of_webhooks.get_mut(WEBHOOKS_MAX) {
                others.merge(&one);
                continue;
            }
            let name = if of_webhooks.len() == WEBHOOKS_MAX {
                OTHERS.to_owned()
            } else if labels.insert(one.name.clone()) {
                one.name.clone()
            } else {
                // Two that look the same would be one series told twice, for which all is refused.
                webhook.id.to_string()
            };
            of_webhooks.push(OfWebhook { name, ..one });
        }
        let started_at = now.wall.minus(store.clock().elapsed());
        Scrape { status, webhooks: of_webhooks, process: process(), started_at }
    }
}

/// Whether an entry of `Accept` asks for OpenMetrics.
fn is_openmetrics(entry: &str) -> bool {
    entry.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/openmetrics-text"))
}

#[derive(Debug)]
struct OfWebhook {
    name: String,
    active: bool,
    paused: bool,
    failing: bool,
    pending: u64,
    due: u64,
    waiting_retry: u64,
    in_flight: u64,
    success_at: Option<Timestamp>,
    counters: Counters,
}

impl OfWebhook {
    fn new(webhook: &Webhook, standing: Option<&Standing>, counters: Counters, success_at: Option<Timestamp>) -> Self {
        let status = standing.map(|standing| standing.status);
        Self {
            name: printable(&webhook.name).into_owned(),
            active: webhook.active,
            paused: webhook.paused,
            failing: webhook.active && status.is_some_and(|status| status.failing),
            pending: status.map_or(0, |status| status.pending),
            due: standing.map_or(0, |standing| standing.due),
            waiting_retry: standing.map_or(0, |standing| standing.waiting_retry),
            in_flight: status.map_or(0, |status| status.in_flight.into()),
            success_at,
            counters,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.active |= other.active;
        self.paused |= other.paused;
        self.failing |= other.failing;
        self.pending += other.pending;
        self.due += other.due;
        self.waiting_retry += other.waiting_retry;
        self.in_flight += other.in_flight;
        // The one that has waited longest for a success.
        self.success_at = self.success_at.min(other.success_at);
        self.counters.merge(&other.counters);
    }
}

/// Everything of one scrape.
#[derive(Debug)]
struct Scrape {
    status: Status,
    webhooks: Vec<OfWebhook>,
    process: Process,
    started_at: Timestamp,
}

/// The one who writes, in either format.
struct Page<'a>(DescriptorEncoder<'a>);

type Written = Result<(), fmt::Error>;

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Written {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn seconds_counter(&mut self, name: &str, help: &str, value: f64) -> Written {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> Written {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// A gauge of each webhook that has one.
    fn gauges(
        &mut self,
        (name, help): (&str, &str),
        webhooks: &[OfWebhook],
        value: impl Fn(&OfWebhook) -> Option<f64>,
    ) -> Written {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for webhook in webhooks {
            if let Some(value) = value(webhook) {
                metric.encode_family(&[("webhook", webhook.name.as_str())])?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    /// A counter of each webhook.
    fn counters(
        &mut self,
        (name, help): (&str, &str),
        webhooks: &[OfWebhook],
        value: impl Fn(&Counters) -> u64,
    ) -> Written {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for webhook in webhooks {
            let labels = [("webhook", webhook.name.as_str())];
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&value(&webhook.counters), None)?;
        }
        Ok(())
    }

    /// Counters of each webhook that are told apart by one more label; those at 0 are left out when `sparse`.
    fn split_counters<const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        webhooks: &[OfWebhook],
        (label, words): (&str, [&str; N]),
        sparse: bool,
        values: impl Fn(&Counters) -> [u64; N],
    ) -> Written {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for webhook in webhooks {
            for (word, value) in words.iter().zip(values(&webhook.counters)) {
                if value > 0 || !sparse {
                    let labels = [("webhook", webhook.name.as_str()), (label, *word)];
                    metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
                }
            }
        }
        Ok(())
    }

    fn durations(&mut self, (name, help): (&str, &str), webhooks: &[OfWebhook]) -> Written {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for webhook in webhooks {
            let counters = &webhook.counters;
            let bounds = DURATION_BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counters.durations).collect();
            let count = counters.durations.iter().sum();
            let labels = [("webhook", webhook.name.as_str())];
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(counters.duration.as_secs_f64(), count, &buckets, None)?;
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Written {
        let mut page = Page(encoder);
        self.daemon(&mut page)?;
        self.deliveries(&mut page)?;
        self.storage(&mut page)?;
        self.of_process(&mut page)
    }
}

impl Scrape {
    fn daemon(&self, page: &mut Page<'_>) -> Written {
        let status = &self.status;
        let mut info = page.0.encode_descriptor("postrider_build", "What runs.", None, MetricType::Info)?;
        info.encode_info(&[("version", status.version.as_str())])?;
        let ingest = &status.ingest;
        page.gauge(
            "postrider_accepting",
            "Whether new events can be made durable (1) or are refused (0).",
            flag(ingest.accepting),
        )?;
        page.counter("postrider_events_accepted", "Events accepted since the start.", ingest.accepted)?;
        page.counter(
            "postrider_events_refused",
            "Posts refused since the start, for whatever reason.",
            ingest.refused,
        )?;
        page.gauge("postrider_ingest_connections", "Open connections of applications.", ingest.connections)?;
        let refused = status.config_refused.is_some();
        page.gauge(
            "postrider_config_refused",
            "Whether the configuration file was refused when it was last read (1).",
            flag(refused),
        )?;
        let mail = &status.email;
        page.gauge("postrider_mail_failing", "Whether mail about failures does not get out (1).", flag(mail.failing))?;
        page.gauge("postrider_mail_waiting", "Mails that wait to be sent.", mail.waiting)?;
        page.gauge("postrider_mail_held_failures", "Failures that no mail has told yet.", mail.held_failures)
    }

    fn deliveries(&self, page: &mut Page<'_>) -> Written {
        let webhooks = &self.webhooks;
        let oldest = self.status.oldest_pending_seconds.unwrap_or(0);
        page.gauge(
            "postrider_oldest_pending_seconds",
            "Age of the oldest event that is not delivered everywhere; 0 when there is none.",
            oldest,
        )?;
        page.gauges(("postrider_pending_deliveries", "Deliveries that are not over."), webhooks, |one| {
            Some(one.pending as f64)
        })?;
        page.gauges(("postrider_due_deliveries", "Deliveries that are due and not on their way."), webhooks, |one| {
            Some(one.due as f64)
        })?;
        page.gauges(
            ("postrider_retrying_deliveries", "Deliveries that wait for their next attempt."),
            webhooks,
            |one| Some(one.waiting_retry as f64),
        )?;
        page.gauges(("postrider_in_flight", "Attempts under way."), webhooks, |one| Some(one.in_flight as f64))?;
        page.gauges(
            ("postrider_webhook_active", "Whether deliveries are made for the webhook (1)."),
            webhooks,
            |one| Some(f64::from(u8::from(one.active))),
        )?;
        page.gauges(("postrider_webhook_paused", "Whether the webhook's deliveries wait (1)."), webhooks, |one| {
            Some(f64::from(u8::from(one.paused)))
        })?;
        page.gauges(
            ("postrider_webhook_failing", "Whether an operator should look at the webhook (1)."),
            webhooks,
            |one| Some(f64::from(u8::from(one.failing))),
        )?;
        let success = (
            "postrider_last_success_timestamp_seconds",
            "When the last attempt that succeeded began, since the start.",
        );
        page.gauges(success, webhooks, |one| one.success_at.map(|at| at.millis() as f64 / 1000.0))?;
        let attempts =
            ("postrider_attempts", "Attempts since the start by class of the response code; class 0 is no response.");
        let classes = ("class", CLASSES.map(Class::as_str));
        page.split_counters(attempts, webhooks, classes, false, |counters| counters.classes)?;
        let errors = ("postrider_attempt_errors", "Attempts without a response since the start, by what went wrong.");
        let kinds = ("error", ErrorKind::ALL.map(ErrorKind::as_str));
        page.split_counters(errors, webhooks, kinds, true, |counters| counters.errors)?;
        page.counters(
            ("postrider_resends", "Attempts since the start that an operator asked for."),
            webhooks,
            |one| one.resends,
        )?;
        page.counters(
            ("postrider_deliveries_failed", "Deliveries that failed for good since the start."),
            webhooks,
            |one| one.failed,
        )?;
        page.durations(
            ("postrider_attempt_duration_seconds", "How long attempts took until the status line or the failure."),
            webhooks,
        )
    }

    fn storage(&self, page: &mut Page<'_>) -> Written {
        let (journal, index, disk) = (&self.status.journal, &self.status.index, &self.status.disk);
        page.gauge(
            "postrider_journal_failed",
            "Whether the journal failed: nothing is accepted until a restart (1).",
            flag(journal.failure.is_some()),
        )?;
        page.gauge("postrider_journal_bytes", "Size of the journal.", journal.bytes)?;
        page.gauge("postrider_journal_segments", "Files of the journal.", journal.segments)?;
        page.gauge(
            "postrider_journal_waiting_bytes",
            "What waits to be written to the journal.",
            journal.waiting_bytes,
        )?;
        page.gauge(
            "postrider_journal_quarantined",
            "Damaged stretches of the journal that were set aside.",
            journal.quarantined,
        )?;
        page.counter("postrider_journal_records", "Records ever written to the journal.", journal.sequence)?;
        page.gauge("postrider_index_ready", "Whether deliveries can be searched (1).", flag(index.state == "ready"))?;
        page.gauge(
            "postrider_index_behind_records",
            "Records of the journal that the index does not have yet.",
            journal.sequence.saturating_sub(index.position),
        )?;
        page.gauge("postrider_index_bytes", "Size of the index.", index.bytes)?;
        page.counter(
            "postrider_index_rebuilds",
            "Indexes built anew since the start because they were damaged.",
            index.rebuilds as u64,
        )?;
        page.gauge("postrider_disk_free_bytes", "Free room on the disk of the state directory.", disk.free_bytes)?;
        page.gauge("postrider_disk_size_bytes", "Size of that disk.", disk.total_bytes)?;
        page.gauge(
            "postrider_disk_floor_bytes",
            "Below this much free room new events are refused.",
            disk.floor_bytes,
        )?;
        page.gauge("postrider_disk_below_floor", "Whether there is less (1).", flag(disk.below_floor))
    }

    fn of_process(&self, page: &mut Page<'_>) -> Written {
        let process = &self.process;
        page.seconds_counter(
            "process_cpu_seconds",
            "Processor time used, in user and system mode.",
            process.cpu.as_secs_f64(),
        )?;
        page.gauge("process_resident_memory_bytes", "Memory in use.", process.resident_bytes)?;
        page.gauge("process_open_fds", "Open file descriptors.", process.descriptors)?;
        page.gauge("process_max_fds", "The most there may be.", process.descriptors_max)?;
        page.gauge("process_start_time_seconds", "When it started.", self.started_at.millis() as f64 / 1000.0)
    }
}

fn flag(is: bool) -> u32 {
    u32::from(is)
}
