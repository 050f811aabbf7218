//! A daemon's answers: what the UI's tests show, all of it at one moment of one day.

use crate::admin::client::Walk;
use crate::admin::protocol::{
    AttemptView, AuditView, BulkCount, ChangesView, DeadLinkSample, DeliveryView, DiskStatus, EventTypeView, EventView,
    FailureEmailView, HeaderView, IndexStatus, IngestStatus, JobView, JournalStatus, KeyView, LaneView, OAuthView,
    PageView, RequestView, RetryView, SecretView, SeriesView, StatsView, Status, VerifyReport, WebhookStats,
    WebhookView,
};
use crate::domain::event_type::KNOWN;
use crate::tui::message::{Ask, Got};
use crate::tui::tests::NOW;
use crate::tui::window::Row;

pub(crate) fn changes(revision: u64) -> ChangesView {
    ChangesView { revision, run: "run".to_owned(), deliveries: revision, configuration: revision, made: revision }
}

/// What the daemon of these tests says.
pub(crate) fn fixture(ask: &Ask) -> Option<Got> {
    let page = |rows| PageView { items: rows, cursor: None };
    let json = |bytes: &[u8]| Got::Payload { content_type: "application/json".to_owned(), bytes: bytes.to_vec() };
    Some(match ask {
        Ask::Status => Got::Status(Box::new(status())),
        Ask::Stats => Got::Stats(Box::new(stats())),
        Ask::Webhooks => Got::Webhooks(webhooks()),
        Ask::EventTypes => Got::EventTypes(event_types()),
        Ask::Recent { webhook: None, .. } => Got::Deliveries(page(deliveries())),
        Ask::Recent { webhook: Some(id), .. } => {
            Got::Deliveries(page(deliveries().into_iter().filter(|one| one.webhook_id == *id).collect()))
        }
        Ask::Deliveries { filter, walk, .. } => {
            let wanted = |one: &DeliveryView| {
                let class = one.last_class.clone().unwrap_or_default();
                (filter.classes.is_empty() || filter.classes.contains(&class))
                    && filter
                        .reference
                        .as_ref()
                        .is_none_or(|wanted| one.references.iter().any(|r| r.starts_with(wanted)))
                    && filter.webhook.as_ref().is_none_or(|wanted| one.webhook_name == *wanted)
                    && filter.state.as_ref().is_none_or(|wanted| one.state == *wanted)
            };
            Got::Deliveries(walked(deliveries(), walk, wanted))
        }
        Ask::Delivery(id) => Got::Delivery(Box::new(delivery_in_full(id)?)),
        Ask::Payload(_) | Ask::EventPayload(_) => Got::Payload {
            content_type: "application/json".to_owned(),
            bytes: include_bytes!("../../catalog/examples/AML_MONITORING.json").to_vec(),
        },
        Ask::TypeSchema(_) => json(include_bytes!("../../catalog/schemas/AML_MONITORING.json")),
        Ask::TypeExample(_) => json(include_bytes!("../../catalog/examples/AML_MONITORING.json")),
        Ask::Keys => Got::Keys(keys()),
        Ask::Audit(..) => Got::Audit(PageView { items: audit(), cursor: None }),
        Ask::Events { filter, walk, .. } => Got::Events(walked(events(), walk, |one| {
            filter.event_type.as_ref().is_none_or(|wanted| one.event_type == *wanted)
        })),
        Ask::Event(id) => {
            let one = events().into_iter().find(|one| one.id == *id)?;
            let list = deliveries().into_iter().filter(|delivery| delivery.event_id == *id).collect();
            Got::Event(Box::new(EventView { delivery_list: Some(list), ..one }))
        }
        Ask::Count(..) => Got::Counted(Box::new(BulkCount {
            matched: 1_204,
            by_webhook: [("aml-watch".to_owned(), 1_100), ("bank".to_owned(), 104)].into(),
            oldest: Some("2026-11-01T10:00:00Z".to_owned()),
            newest: Some(NOW.to_owned()),
            dead_links: Some(DeadLinkSample { sampled: 200, with: 17 }),
            complete: true,
        })),
        Ask::Start(..) | Ask::Job(_) | Ask::StopJob(_) => Got::Job(Box::new(job())),
        Ask::Jobs => Got::Jobs(vec![job()]),
        Ask::CreateKey(name) => Got::Key(Box::new(KeyView {
            name: name.clone(),
            token: Some("prt_0123456789abcdef".to_owned()),
            ..KeyView::default()
        })),
        Ask::Verify => Got::Verified(Box::new(VerifyReport {
            segments: 12,
            records: 1_234_567,
            index_rows: 2_469_134,
            ..VerifyReport::default()
        })),
        Ask::Resend(_) => Got::Resent(Vec::new()),
        _ => return None,
    })
}

/// Part of a list, as the daemon would give it.
fn walked<T: Row>(all: Vec<T>, walk: &Walk, wanted: impl Fn(&T) -> bool) -> PageView<T> {
    let mut rows: Vec<T> = all.into_iter().filter(wanted).collect();
    if walk.oldest_first {
        rows.reverse();
    }
    rows.retain(|one| match &walk.from {
        None => true,
        Some(from) if walk.oldest_first => one.id() > from.as_str(),
        Some(from) => one.id() < from.as_str(),
    });
    let more = rows.len() > walk.limit;
    rows.truncate(walk.limit);
    let cursor = rows.last().filter(|_| more).map(|one| one.id().to_owned());
    PageView { items: rows, cursor }
}

pub(crate) fn events() -> Vec<EventView> {
    let event = |one: DeliveryView| EventView {
        deliveries: u16::from(one.state != "skipped") * u16::from(one.webhook_name != "bank"),
        skipped: u16::from(one.state == "skipped"),
        id: one.event_id,
        event_type: one.event_type,
        created_at: one.created_at,
        content_type: "application/json".to_owned(),
        scan_ref: one.scan_ref,
        references: one.references,
        token: "default".to_owned(),
        payload_bytes: one.payload_bytes,
        delivery_list: None,
    };
    deliveries().into_iter().map(event).collect()
}

pub(crate) fn keys() -> Vec<KeyView> {
    let key = |name: &str, types: &[&str], used: Option<&str>| KeyView {
        name: name.to_owned(),
        types: types.iter().map(|one| (*one).to_owned()).collect(),
        created_at: "2026-09-01T10:00:00Z".to_owned(),
        created_by: "root".to_owned(),
        last_used_at: used.map(at),
        token: None,
    };
    vec![key("default", &[], Some("14:31:59")), key("billing", &["SOS_REPORT", "BANK_VERIFICATION"], None)]
}

pub(crate) fn audit() -> Vec<AuditView> {
    let entry = |clock: &str, by: &str, action: &str, subject: &str| AuditView {
        at: at(clock),
        by: by.to_owned(),
        uid: Some(1001),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: serde_json::json!({"retry.count": {"before": 5, "after": 7}}),
    };
    vec![
        entry("14:02:11", "alice", "webhook.edit", "aml-watch"),
        entry("13:58:40", "bob (sudo)", "delivery.resend", "dlv_1"),
    ]
}

pub(crate) fn job() -> JobView {
    JobView {
        id: "job_7".to_owned(),
        kind: "resend".to_owned(),
        state: "running".to_owned(),
        matched: 1_204,
        complete: true,
        done: 600,
        changed: 590,
        skipped: 8,
        failed: 2,
        rate_per_second: 50,
        started_at: at("14:31:50"),
        by: "alice".to_owned(),
        ..JobView::default()
    }
}

fn at(text: &str) -> String {
    format!("2026-11-02T{text}Z")
}

pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 4711,
        uptime_seconds: 1_036_800,
        ingest: IngestStatus {
            listen: "127.0.0.1:7780".to_owned(),
            accepting: true,
            connections: 3,
            accepted: 120_431,
            ..IngestStatus::default()
        },
        pending: 44,
        in_flight: 4,
        attempts: 123_456,
        oldest_pending_seconds: Some(2_472),
        failing_webhooks: vec!["aml-watch".to_owned(), "aml-expiry".to_owned()],
        webhooks: 6,
        journal: JournalStatus {
            sequence: 1_234_567,
            segments: 12,
            bytes: 39_845_888,
            oldest_day: Some("2026-10-03".to_owned()),
            ..JournalStatus::default()
        },
        index: IndexStatus {
            state: "ready".to_owned(),
            position: 1_234_567,
            bytes: 81_234_567,
            ..IndexStatus::default()
        },
        disk: DiskStatus {
            path: "/var/lib/postrider".to_owned(),
            free_bytes: 74_000_000_000,
            total_bytes: 270_000_000_000,
            floor_bytes: 13_500_000_000,
            below_floor: false,
        },
        problems: vec!["webhook aml-watch is failing; see `postrider delivery list --webhook aml-watch`".to_owned()],
        config_file: Some("/etc/postrider/postrider.toml".to_owned()),
        retention_days: 30,
        config_read_at: Some("2026-10-21T08:00:00Z".to_owned()),
        ..Status::default()
    }
}

fn series(success: u64, failures: [u64; 4]) -> SeriesView {
    let wave = |per: u64, from: usize| {
        (0..60).map(|at| if at < from { 0 } else { per * (2 + (at as u64 * 7 + per) % 5) / 4 }).collect()
    };
    let [no_response, redirection, client_error, server_error] = failures;
    SeriesView {
        success: wave(success, 0),
        no_response: wave(no_response, 52),
        redirection: wave(redirection, 58),
        client_error: wave(client_error, 48),
        server_error: wave(server_error, 30),
        failed: wave(u64::from(server_error > 0), 55),
        resent: 6,
        p50_ms: Some(71.0),
        p95_ms: Some(412.0),
        p99_ms: Some(1_900.0),
    }
}

pub(crate) fn stats() -> StatsView {
    let hook = |id: &str, name: &str, series: SeriesView| WebhookStats {
        id: id.to_owned(),
        name: name.to_owned(),
        series,
        last_code: Some(200),
        last_at: Some(at("14:31:58")),
        last_success_at: Some(at("14:31:58")),
        ..WebhookStats::default()
    };
    let failing = |mut hook: WebhookStats, code: u16, since: &str, pending: u64| {
        hook.last_code = Some(code);
        hook.last_error = (code == 0).then(|| "connect_timeout".to_owned());
        hook.failing_since = Some(at(since));
        hook.failing = true;
        hook.pending = pending;
        hook.next_attempt_at = Some(at("14:32:29"));
        hook.oldest_pending_at = Some(at("13:50:55"));
        hook
    };
    StatsView {
        at: NOW.to_owned(),
        starts_at: at("13:33:00"),
        slice_seconds: 60,
        accepted: (0..60).map(|at| 60 + at % 40).collect(),
        total: series(80, [2, 1, 2, 12]),
        webhooks: vec![
            failing(hook("wh_2", "aml-expiry", series(8, [0, 0, 0, 1])), 503, "14:19:27", 4),
            failing(hook("wh_1", "aml-watch", series(4, [0, 0, 0, 9])), 503, "13:50:55", 37),
            hook("wh_3", "bank", series(20, [0; 4])),
            failing(hook("wh_4", "face-auth", series(3, [2, 0, 0, 0])), 0, "14:29:56", 3),
            hook("wh_5", "kyc-auto", series(40, [0; 4])),
            hook("wh_6", "orders-prod", series(60, [0; 4])),
        ],
        pending: 44,
        due: 12,
        waiting_retry: 32,
        drain_seconds: Some(340),
        counting_since: None,
    }
}

pub(crate) fn webhook(id: &str, name: &str, kind: &str, url: &str) -> WebhookView {
    WebhookView {
        id: id.to_owned(),
        version: 3,
        kind: "Webhook".to_owned(),
        name: name.to_owned(),
        url: url.to_owned(),
        event_types: vec![kind.to_owned()],
        active: true,
        signing_key: SecretView {
            set: true,
            changed_at: Some("2026-10-02T09:14:00Z".to_owned()),
            previous_until: None,
        },
        retry: RetryView { count: 5, interval_seconds: 60, backoff: "fixed".to_owned(), max_interval_seconds: 3600 },
        timeout_seconds: 10,
        max_in_flight: 8,
        created_at: "2026-09-01T10:00:00Z".to_owned(),
        updated_at: "2026-10-02T09:14:00Z".to_owned(),
        updated_by: "alice".to_owned(),
        ..WebhookView::default()
    }
}

pub(crate) fn webhooks() -> Vec<WebhookView> {
    let lane = |pending| LaneView { pending, failing: true, ..LaneView::default() };
    let secret = |set| SecretView { set, ..SecretView::default() };
    let header = |name: &str, value: Option<&str>| HeaderView {
        name: name.to_owned(),
        value: value.map(ToOwned::to_owned),
        secret: value.is_none(),
        set: value.is_none(),
    };
    let watch = WebhookView {
        headers: vec![header("X-Env", Some("prod")), header("X-Api-Key", None)],
        oauth: Some(OAuthView {
            endpoint: "https://auth.example.net/token".to_owned(),
            token: secret(true),
            request: secret(true),
        }),
        failure_email: Some(FailureEmailView { to: vec!["ops@example.com".to_owned()], include_body: false }),
        retry: RetryView { count: 7, interval_seconds: 90, backoff: "fixed".to_owned(), max_interval_seconds: 3600 },
        lane: lane(37),
        ..webhook("wh_1", "aml-watch", "AML_MONITORING", "https://risk.example.net/aml")
    };
    vec![
        watch,
        WebhookView {
            lane: lane(4),
            ..webhook(
                "wh_2",
                "aml-expiry",
                "AML_MONITORING_EXPIRATION",
                "https://risk.example.net/aml-expiry/hooks/long",
            )
        },
        webhook("wh_3", "bank", "BANK_VERIFICATION", "https://pay.example.com/bank"),
        WebhookView {
            lane: lane(3),
            paused: true,
            ..webhook("wh_4", "face-auth", "FACIAL_AUTHENTICATION", "http://10.20.0.7:8080/face")
        },
        webhook("wh_5", "kyc-auto", "ID_VERIFICATION_AUTO_FINISHED", "https://core.example.com/in/kyc"),
        WebhookView {
            active: false,
            event_types: vec!["ID_VERIFICATION_MANUAL_FINISHED".to_owned(), "SOS_REPORT".to_owned()],
            ..webhook("wh_6", "orders-prod", "*", "https://erp.example.com/hooks/orders")
        },
    ]
}

pub(crate) fn event_types() -> Vec<EventTypeView> {
    let view = |known: &crate::domain::event_type::KnownType| EventTypeView {
        name: known.name.to_owned(),
        label: known.label.to_owned(),
        wire_name: known.wire_name.to_owned(),
        group: known.group.as_str().to_owned(),
        meaning: known.meaning.to_owned(),
        deprecated: known.name == "ID_VERIFICATION",
        has_schema: true,
        has_example: true,
        ..EventTypeView::default()
    };
    KNOWN.iter().map(view).collect()
}

/// A delivery; the number orders it, the greatest is the newest.
pub(crate) fn delivery(number: u32, hook: &str, state: &str, code: Option<u16>) -> DeliveryView {
    let hooks = webhooks();
    let hook = hooks.iter().find(|one| one.name == hook).unwrap_or_else(|| panic!("no webhook {hook}"));
    let second = 52_325 - u64::from(99 - number) * 37;
    let clock = |second: u64| at(&format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60));
    let reference = format!("{:08x}-90de-4f02-9c1b-77d0a2e61b{number:02}", number.wrapping_mul(2_654_435_761));
    DeliveryView {
        id: format!("dlv_{number:026}000"),
        event_id: format!("evt_{number:026}"),
        webhook_id: hook.id.clone(),
        webhook_name: hook.name.clone(),
        event_type: hook.event_types[0].clone(),
        scan_ref: Some(reference.clone()),
        references: vec![reference, "client-7".to_owned()],
        state: state.to_owned(),
        url: hook.url.clone(),
        created_at: clock(second),
        next_attempt_at: (state == "pending").then(|| at("14:33:31")),
        attempts_made: if code.is_some() { 2 } else { 0 },
        attempts_max: hook.retry.count + 1,
        last_attempt_at: code.map(|_| clock(second + 1)),
        last_duration_ms: code.map(|code| if code == 0 { 10_001.0 } else { 71.4 }),
        last_code: code,
        last_class: code.map(|code| crate::domain::attempt::Class::of(code).as_str().to_owned()),
        last_error: code.filter(|code| *code == 0).map(|_| "connect_timeout".to_owned()),
        payload_bytes: 2_260,
        cause: "event".to_owned(),
        ..DeliveryView::default()
    }
}

pub(crate) fn deliveries() -> Vec<DeliveryView> {
    let mut rows = Vec::new();
    for number in (10..100).rev() {
        rows.push(match number % 10 {
            9 => delivery(number, "face-auth", "pending", Some(0)),
            8 => delivery(number, "aml-watch", "pending", Some(503)),
            7 => delivery(number, "kyc-auto", "delivered", Some(200)),
            6 => delivery(number, "orders-prod", "delivered", Some(200)),
            5 => delivery(number, "aml-expiry", "failed", Some(503)),
            4 => delivery(number, "bank", "delivered", Some(201)),
            3 => delivery(number, "kyc-auto", "failed", Some(302)),
            2 => delivery(number, "bank", "cancelled", Some(410)),
            1 => DeliveryView { sending: true, ..delivery(number, "bank", "pending", None) },
            _ => delivery(number, "orders-prod", "skipped", None),
        });
    }
    rows
}

pub(crate) fn delivery_in_full(id: &str) -> Option<DeliveryView> {
    let one = deliveries().into_iter().find(|one| one.id == id)?;
    let code = one.last_code.unwrap_or(200);
    let attempt = |number: u32, started_at: &str| AttemptView {
        number,
        cause: "event".to_owned(),
        started_at: at(started_at),
        duration_ms: 405.2 + f64::from(number),
        code,
        class: crate::domain::attempt::Class::of(code).as_str().to_owned(),
        error: one.last_error.clone(),
        dns_ms: Some(1.0),
        connect_ms: Some(14.0),
        tls_ms: Some(31.0),
        first_byte_ms: Some(359.0),
        peer: Some("203.0.113.40:443".to_owned()),
    };
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "postrider/0.1.0"),
        ("idenfy-event-type", "AML_MONITORING"),
        ("idenfy-signature", "3f1c9e0d4a5b"),
        ("authorization", "…"),
        ("x-env", "prod"),
    ];
    let attempts = one.last_code.map(|_| vec![attempt(1, "14:30:31.020"), attempt(2, "14:32:01.433")]);
    Some(DeliveryView {
        attempts: Some(attempts.unwrap_or_default()),
        request: Some(RequestView {
            method: "POST".to_owned(),
            url: one.url.clone(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            timeout_seconds: 10,
        }),
        dead_links: Some(0),
        ..one
    })
}
