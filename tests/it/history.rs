//! What is known of what happened, and for how long: deliveries, skipped ones among them, and the
//! audit log, over weeks of simulated time, power cuts and lost indexes.

use std::time::Duration;

use postrider::domain::audit::AuditRecord;
use postrider::domain::delivery::State;
use postrider::index::Query;

use crate::support::world::{START, TRACE, World, text};

#[tokio::test(start_paused = true)]
async fn after_thirty_days_it_is_gone_except_what_is_still_wanted() {
    const DAY: Duration = Duration::from_hours(24);
    let mut world = World::new(4);
    world.receivers.set("w", |_| (200, Duration::ZERO));
    world.receivers.set("p", |_| (200, Duration::ZERO));
    world.webhook("w", 0, 60, 4).await;
    let held = world.webhook("p", 0, 60, 4).await;
    world.receivers.set("f", |_| (200, Duration::ZERO));
    let filtered = world.webhook("f", 0, 60, 4).await;
    world.filter(filtered, "/never").await;
    world.change(held, |webhook| webhook.active = false).await;
    let done = AuditRecord::own(world.clock.now(), "canary.audit", "old", "{}".to_owned());
    world.store.audit(done).await.unwrap();
    world.post("old", "{\"canary\":\"old-payload\"}").await.unwrap();
    world.post("touched", "{\"canary\":\"touched-payload\"}").await.unwrap();
    world.change(held, |webhook| (webhook.active, webhook.paused) = (true, true)).await;
    world.post("waiting", "{\"canary\":\"waiting-payload\"}").await.unwrap();
    let on_disk = |world: &World, text: &str| {
        let files = world.disk.files(std::path::Path::new("/state/journal"));
        files.iter().any(|path| String::from_utf8_lossy(&world.disk.contents(path)).contains(text))
    };
    for day in 1..=75_u32 {
        tokio::time::sleep(DAY).await;
        if day == 20 {
            let touched = world.find("touched").await;
            let touched = touched.iter().find(|one| one.delivery.state() == State::Delivered).unwrap();
            world.dispatcher.resend(touched.id, "alice").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        sweep(&world).await;
        // One event a day keeps folders coming.
        world.post(&format!("day{day}"), "{}").await.unwrap();
        let expected = [("old", day <= 30), ("touched", day <= 50), ("waiting", true)];
        for (reference, there) in expected {
            assert_eq!(!world.find(reference).await.is_empty(), there, "{reference} on day {day}");
            assert_eq!(on_disk(&world, &format!("{reference}-payload")), there, "{reference} on the disk on day {day}");
        }
        let done = world.audit().await.iter().any(|one| one.action == "canary.audit");
        assert_eq!((done, on_disk(&world, "canary.audit")), (day <= 30, day <= 30), "day {day}");
        if day == 20 || day == 45 {
            // Skipped deliveries are carried with their event.
            let touched = world.find("touched").await;
            let skipped: Vec<_> = touched.iter().filter(|one| one.delivery.state() == State::Skipped).collect();
            assert_eq!((skipped.len(), skipped[0].webhook, skipped[0].event.skipped), (1, filtered, 1), "day {day}");
            assert_eq!(touched.len(), 1 + usize::from(touched[0].event.targets), "day {day}");
        }
        if day == 40 {
            // The same again from the journal alone.
            world = world.crash(1, true).await;
            world.until_ready().await;
            world.filter(filtered, "/never").await;
        }
    }
    assert!(world.store.days().len() <= 32);
    // What waited for ten weeks still goes out, with its bytes.
    world.change(held, |webhook| webhook.paused = false).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let receipts = world.receivers.receipts();
    let late: Vec<_> = receipts.iter().filter(|one| one.webhook == "p").collect();
    let waited = late.iter().find(|one| one.body == "{\"canary\":\"waiting-payload\"}").expect("it goes out");
    assert_eq!(waited.trace.as_deref(), Some(TRACE), "with its trace, though it was carried several times");
    // Then nobody posts anything any more, and the last of it goes as well; the webhooks stay.
    tokio::time::sleep(32 * DAY).await;
    for _ in 0..40 {
        sweep(&world).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
    }
    assert!(!on_disk(&world, "waiting-payload"));
    assert_eq!(world.store.days().len(), 1, "{:?}", world.store.days());
    world = world.crash(2, true).await;
    world.until_ready().await;
    assert_eq!(world.store.config().webhooks.len(), 3);
    assert_eq!(world.deliveries(Query::default()).await.len(), 0);
}

/// More than is listed at once, of what still waits as well as of what is over.
#[tokio::test(start_paused = true)]
async fn a_whole_day_that_still_waits_is_carried_and_goes_in_its_time() {
    const DAY: Duration = Duration::from_hours(24);
    const EVENTS: usize = 1_100;
    let world = World::new(14);
    world.receivers.set("p", |_| (200, Duration::ZERO));
    let held = world.webhook("p", 0, 60, 4).await;
    world.change(held, |webhook| webhook.paused = true).await;
    for number in 0..EVENTS {
        world.post(&format!("event-{number}"), &format!("{{\"number\":{number}}}")).await.unwrap();
    }
    let first = world.store.days()[0];
    for _ in 0..2 {
        tokio::time::sleep(31 * DAY).await;
        sweep(&world).await;
        assert!(!world.store.days().contains(&first));
        for number in [0, EVENTS / 2, EVENTS - 1] {
            assert_eq!(world.find(&format!("event-{number}")).await.len(), 1, "{number}");
        }
    }
    world.change(held, |webhook| webhook.paused = false).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    let mut arrived: Vec<_> = world.receivers.receipts().into_iter().map(|one| one.body).collect();
    arrived.sort_unstable();
    assert_eq!(arrived.len(), EVENTS);
    arrived.dedup();
    assert_eq!(arrived.len(), EVENTS, "something was sent twice, and something not at all");
    tokio::time::sleep(31 * DAY).await;
    sweep(&world).await;
    assert_eq!(world.deliveries(Query::default()).await.len(), 0);
}

async fn sweep(world: &World) {
    use postrider::maintenance::{Floor, Maintenance, MaintenanceOptions};
    let retention = Duration::from_hours(24 * 30);
    let (_keep, options) =
        tokio::sync::watch::channel(MaintenanceOptions { retention, floor: Floor { bytes: 0, percent: 0 } });
    Maintenance::new(world.store.clone(), world.dispatcher.clone(), options).sweep().await.unwrap();
}

/// What a filter does not let through is there to be seen, and goes out only when somebody says so.
#[tokio::test(start_paused = true)]
async fn what_a_filter_skips_is_seen_and_sent_only_by_hand() {
    let mut world = World::new(10);
    world.until_ready().await;
    let up = START.plus(Duration::from_mins(10));
    world.receivers.set("w", move |now| (if now < up { 500 } else { 200 }, Duration::ZERO));
    let webhook = world.webhook("w", 3, 60, 4).await;
    world.filter(webhook, "/final").await;
    let accepted = world.post_keyed("r", "{\"final\":false}", "key").await.unwrap();
    assert_eq!((accepted.deliveries, accepted.duplicate), (0, false));
    let again = world.post_keyed("r", "{\"final\":false}", "key").await.unwrap();
    assert_eq!((again.id, again.deliveries, again.duplicate), (accepted.id, 0, true));
    assert_eq!(world.post("other", "{\"final\":true}").await.unwrap().deliveries, 1);
    tokio::time::sleep(Duration::from_mins(5)).await;
    let state = |found: &[postrider::index::Found]| {
        (found.len(), found[0].delivery.state(), found[0].attempts.len(), found[0].webhook_version)
    };
    let found = world.find("r").await;
    assert_eq!(state(&found), (1, State::Skipped, 0, 2), "with the version whose filter it was");
    let id = found[0].id;
    assert!(!world.dispatcher.cancel(id, "alice").await.unwrap(), "nothing is to be withdrawn");
    // A resend that fails leaves it skipped.
    world.dispatcher.resend(id, "alice").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(state(&world.find("r").await), (1, State::Skipped, 1, 2));
    // One that waits is withdrawn, and leaves it skipped.
    world.change(webhook, |webhook| webhook.paused = true).await;
    world.dispatcher.resend(id, "alice").await.unwrap();
    assert_eq!(world.find("r").await[0].delivery.state(), State::Pending);
    assert!(world.dispatcher.cancel(id, "alice").await.unwrap());
    assert_eq!(state(&world.find("r").await), (1, State::Skipped, 1, 2));
    // One that waits over a restart is known from the journal alone.
    world.dispatcher.resend(id, "alice").await.unwrap();
    tokio::time::sleep(Duration::from_mins(10)).await;
    world = world.crash_without_index(3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.store.arrivals().is_restored());
    world.change(webhook, |webhook| webhook.paused = false).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    let mut before: Option<Vec<postrider::index::Found>> = None;
    for seed in 4..6 {
        world = world.crash(seed, true).await;
        world.until_ready().await;
        let after = world.deliveries(Query::default()).await;
        assert!(before.is_none_or(|before| before == after), "a rebuilt index says the same");
        before = Some(after);
    }
    let found = world.find("r").await;
    assert_eq!((found[0].delivery.state(), found[0].event.targets, found[0].event.skipped), (State::Delivered, 0, 1));
    let sent = world.receivers.receipts();
    let attempts: Vec<_> = sent.iter().filter(|one| one.event == text(accepted.id)).map(|one| one.attempt).collect();
    assert_eq!(attempts, [1, 2]);
    assert_eq!(world.dispatcher.load(), (0, 0));
}

/// A receiver that is gone pauses its webhook, and that is noted as postrider's own doing.
#[tokio::test(start_paused = true)]
async fn what_postrider_does_by_itself_is_noted() {
    let mut world = World::new(11);
    world.receivers.set("w", |_| (410, Duration::ZERO));
    let webhook = world.webhook("w", 3, 60, 4).await;
    for _ in 0..3 {
        world.post("r", "{}").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    for _ in 0..2 {
        let log = world.audit().await;
        assert_eq!(log.len(), 1, "{log:?}");
        assert_eq!((log[0].by.as_str(), log[0].uid, log[0].action.as_str()), ("postrider", None, "webhook.pause"));
        assert!(log[0].subject == "w" && log[0].detail.contains("410") && log[0].detail.contains(&webhook.to_string()));
        world = world.crash(5, true).await;
        world.until_ready().await;
    }
    crate::rows::covered(
        &["F22"],
        "what_postrider_does_by_itself_is_noted",
        "paused, noted, and nothing sent after it",
    );
}

/// What was done while the disk is full is noted when there is room.
#[tokio::test(start_paused = true)]
async fn an_entry_waits_for_room() {
    let world = World::new(12);
    world.until_ready().await;
    world.disk.set_capacity(Some(world.disk.used()));
    let entry = AuditRecord::own(world.clock.now(), "test", "", "{}".to_owned());
    assert!(world.store.audit(entry.clone()).await.is_err(), "it is not durable yet");
    world.disk.set_capacity(None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.audit().await, [entry]);
}

#[tokio::test(start_paused = true)]
async fn no_day_goes_while_a_backup_is_read() {
    const DAY: Duration = Duration::from_hours(24);
    let world = World::new(7);
    world.receivers.set("w", |_| (200, Duration::ZERO));
    world.webhook("w", 0, 60, 4).await;
    world.post("old", "{}").await.unwrap();
    tokio::time::sleep(DAY).await;
    world.post("newer", "{}").await.unwrap();
    tokio::time::sleep(DAY * 31).await;
    let moment = world.store.moment().await.unwrap();
    let oldest = world.store.days()[0];
    let retention = DAY * 30;
    let refused = world.store.expire(oldest, retention, world.clock.now()).await;
    assert!(matches!(refused, Err(postrider::store::StoreError::Busy)), "{refused:?}");
    for (name, segment) in &moment.segments {
        let file = world.store.journal().open_segment(*name).unwrap();
        assert_eq!(file.read_at(&mut [0; 1], segment.length - 1).unwrap(), 1);
    }
    drop(moment);
    world.store.expire(oldest, retention, world.clock.now()).await.unwrap();
    assert!(!world.store.days().contains(&oldest));
}
