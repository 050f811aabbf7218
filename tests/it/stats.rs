//! Figures over time against what receivers saw, minute by minute, and the socket that shows them.

use std::time::Duration;

use postrider::domain::attempt::Class;
use postrider::domain::figures::{FAILED, RESENT, Window};
use postrider::domain::id::WebhookId;
use postrider::index::Query;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::world::{START, World};

fn place(code: u16) -> usize {
    match Class::of(code) {
        Class::NoResponse => 0,
        Class::Success => 1,
        Class::Redirection => 2,
        Class::ClientError => 3,
        _ => 4,
    }
}

/// One in many moods, and one that always says no.
async fn receivers(world: &World) -> (WebhookId, WebhookId) {
    world.receivers.set("moody", |now| match now.since(START).as_secs() / 600 % 4 {
        0 => (200, Duration::from_millis(20)),
        1 => (0, Duration::from_millis(5)),
        2 => (503, Duration::from_millis(900)),
        _ => (302, Duration::from_millis(3)),
    });
    world.receivers.set("strict", |_| (404, Duration::from_millis(100)));
    (world.webhook("moody", 2, 30, 4).await, world.webhook("strict", 0, 30, 4).await)
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_counted_in_its_minute() {
    let mut world = World::new(31);
    world.until_ready().await;
    let (moody, strict) = receivers(&world).await;
    let mut posted = Vec::new();
    for round in 0..200_u64 {
        for number in 0..=round % 5 {
            world.post(&format!("r{round}-{number}"), "{}").await.unwrap();
            posted.push(world.clock.now());
        }
        tokio::time::sleep(Duration::from_secs(17 + round % 40)).await;
    }
    world.until_idle(Duration::from_hours(1)).await;
    let of_strict = world.deliveries(Query { webhook: Some(strict), ..Query::default() }).await;
    for found in &of_strict[..7] {
        world.dispatcher.resend(found.id, "alice").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let receipts = world.receivers.receipts();
    assert!(receipts.len() > 500, "{}", receipts.len());
    for window in [Window::Hour, Window::Day] {
        let now = world.clock.read();
        let slice_of = |at: postrider::domain::time::Timestamp| {
            let after = at.millis().checked_sub(window.starts_at(now).millis())?;
            Some(usize::try_from(after / window.slice().as_millis() as u64).unwrap())
        };
        let mut both = vec![[0; 7]; window.slices()];
        for (webhook, name) in [(moody, "moody"), (strict, "strict")] {
            let mut expected = vec![[0; 7]; window.slices()];
            for receipt in receipts.iter().filter(|receipt| receipt.webhook == name) {
                let (at, code) = receipt.ended.unwrap();
                let Some(slice) = slice_of(at) else { continue };
                expected[slice][place(code)] += 1;
                // No retries are left after the third attempt, or the first; resends give up nothing.
                let last = if name == "moody" { 3 } else { 1 };
                expected[slice][FAILED] += u32::from(receipt.attempt == last && code != 200);
                expected[slice][RESENT] += u32::from(receipt.attempt > last);
            }
            let (figures, last) = world.dispatcher.figures(webhook, window, now).unwrap();
            assert_eq!(figures.slices, expected, "{name} {window:?}");
            let (sums, last) = (figures.slices.iter(), last.unwrap());
            assert!(sums.map(|slice| slice[..5].iter().sum::<u32>()).sum::<u32>() > 50);
            for (sum, own) in both.iter_mut().zip(expected) {
                sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
            }
            let own = || receipts.iter().filter(|receipt| receipt.webhook == name);
            assert_eq!(last.at, own().map(|receipt| receipt.began).max().unwrap(), "{name}");
            let successes = || own().filter(|receipt| receipt.ended.unwrap().1 == 200);
            assert_eq!(last.success_at, successes().map(|receipt| receipt.began).max(), "{name}");
            assert_eq!(last.failing_since.is_some(), last.result != Ok(200), "{name}");
        }
        assert_eq!(world.dispatcher.figures_of_all(window, now).slices, both, "{window:?}");
        let mut expected = vec![0; window.slices()];
        posted.iter().filter_map(|at| slice_of(*at)).for_each(|slice| expected[slice] += 1);
        assert_eq!(world.store.accepted_over(window, now), expected, "{window:?}");
        let (strict, _) = world.dispatcher.figures(strict, window, now).unwrap();
        let p50 = strict.p50.unwrap().as_secs_f64();
        assert!((0.075..0.134).contains(&p50) && strict.p99.unwrap().as_secs_f64() < 0.134, "{strict:?}");
        assert!(world.dispatcher.counting_since(now) == START);
    }
    // Nothing of it outlives the process, and it says so.
    world = world.restart().await;
    let now = world.clock.read();
    assert!(world.dispatcher.figures(moody, Window::Day, now).is_none());
    assert_eq!(world.store.accepted_over(Window::Day, now), [0; 48]);
    assert_eq!(world.dispatcher.counting_since(now), now.wall);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_is_gone_is_forgotten_and_a_backlog_has_an_end() {
    let world = World::new(32);
    world.until_ready().await;
    world.receivers.set("slow", |_| (200, Duration::from_secs(2)));
    let slow = world.webhook("slow", 0, 30, 1).await;
    for number in 0..300 {
        world.post(&format!("r{number}"), "{}").await.unwrap();
    }
    let drain = |world: &World| world.dispatcher.drain(world.dispatcher.load().0, world.clock.read());
    assert_eq!(drain(&world), None, "there were only more of them");
    tokio::time::sleep(Duration::from_mins(7)).await;
    // One every two seconds.
    let (pending, _) = world.dispatcher.load();
    let told = drain(&world).unwrap().as_secs();
    assert!(pending < 100 && told.abs_diff(pending * 2) <= 12, "{told} s for {pending}");
    let standing = |world: &World| world.dispatcher.survey(&[slow], world.clock.read())[0].unwrap();
    assert_eq!((standing(&world).due, standing(&world).waiting_retry), (pending - 1, 0));
    let oldest = world.store.oldest_pending_of([slow].into()).await;
    assert!(oldest[&slow] >= START && oldest.len() == 1);
    world.until_idle(Duration::from_hours(1)).await;
    assert_eq!(standing(&world).next_start, None);
    assert_eq!(world.store.oldest_pending_of([slow].into()).await.len(), 0);
    let now = world.clock.read();
    assert!(world.dispatcher.figures(slow, Window::Day, now).is_some());
    world.store.forget_webhook(slow, "test").await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(world.dispatcher.figures(slow, Window::Day, now).is_none());
    let all = world.dispatcher.figures_of_all(Window::Day, now);
    assert_eq!(all.slices.iter().map(|slice| slice[1]).sum::<u32>(), 300, "it happened all the same");
}

#[test]
fn the_socket_shows_figures() {
    let daemon = Daemon::start("");
    let webhook = |name: &str, more: Value| {
        let mut body = json!({"name": name, "url": "http://127.0.0.1:9/", "event_types": ["SOS_REPORT"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(daemon.admin("POST /v1/webhooks", &body.to_string()).status, 201);
    };
    webhook("b-fails", json!({"retry": {"count": 0}}));
    webhook("a-retries", json!({"retry": {"count": 3, "interval_seconds": 3600}}));
    webhook("c-paused", json!({"paused": true}));
    webhook("d-idle", json!({"event_types": ["ACCOUNT_CHECK"]}));
    let stats = |query: &str| {
        let answer = daemon.admin(&format!("GET /v1/stats{query}"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    for wrong in ["?window=2h", "?window=1d", "?windows=1h"] {
        assert_eq!(daemon.admin(&format!("GET /v1/stats{wrong}"), "").status, 400, "{wrong}");
    }
    assert_eq!(daemon.admin("POST /v1/stats", "").status, 405);
    for _ in 0..3 {
        assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
    }
    let sum = |series: &Value| series.as_array().unwrap().iter().map(|one| one.as_u64().unwrap()).sum::<u64>();
    let view = daemon.until("all were tried", |_| {
        let view = stats("");
        let indexed = view["webhooks"][2]["oldest_pending_at"].is_string();
        (sum(&view["total"]["no_response"]) == 6 && view["pending"] == 6 && indexed).then_some(view)
    });
    let names: Vec<&str> =
        view["webhooks"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a-retries", "b-fails", "c-paused", "d-idle"]);
    assert_eq!((sum(&view["accepted"]), view["slice_seconds"].clone()), (3, json!(60)));
    assert_eq!((view["due"].clone(), view["waiting_retry"].clone()), (json!(3), json!(3)));
    assert!(view["counting_since"].as_str().unwrap() <= view["at"].as_str().unwrap());
    assert!(view["starts_at"].as_str().unwrap().ends_with(":00.000Z"));
    let [retries, fails, paused, idle] = [0, 1, 2, 3].map(|place| view["webhooks"][place].clone());
    for (webhook, pending, failed) in [(&retries, 3, 0), (&fails, 0, 3), (&paused, 3, 0), (&idle, 0, 0)] {
        assert_eq!((webhook["pending"].clone(), sum(&webhook["series"]["failed"])), (json!(pending), failed));
        for series in ["no_response", "success", "redirection", "client_error", "server_error", "failed"] {
            assert_eq!(webhook["series"][series].as_array().unwrap().len(), 60);
        }
        assert_eq!(webhook["series"]["p50_ms"], Value::Null, "nobody answered");
        assert_eq!(webhook["oldest_pending_at"].is_string(), pending > 0);
    }
    assert_eq!((fails["last_code"].clone(), fails["last_error"].clone()), (json!(0), json!("refused")));
    assert!(fails["failing"] == true && fails["failing_since"].as_str().unwrap() <= fails["last_at"].as_str().unwrap());
    assert_eq!((fails["last_success_at"].clone(), paused["last_at"].clone()), (Value::Null, Value::Null));
    assert!(retries["next_attempt_at"].as_str().unwrap() > view["at"].as_str().unwrap());
    assert_eq!((fails["next_attempt_at"].clone(), paused["next_attempt_at"].clone()), (Value::Null, Value::Null));
    let day = stats("?window=24h");
    assert_eq!((day["accepted"].as_array().unwrap().len(), day["slice_seconds"].clone()), (48, json!(1800)));
    assert_eq!(sum(&day["total"]["no_response"]), 6);
    assert_eq!(daemon.admin("DELETE /v1/webhooks/c-paused", "").status, 200);
    let view = stats("?window=1h");
    assert_eq!((view["pending"].clone(), view["webhooks"].as_array().unwrap().len()), (json!(3), 3));
}
