//! Jobs over many deliveries under simulated time: their rate, what they leave alone, their end.

use std::collections::HashMap;
use std::time::Duration;

use postrider::admin::server::{JobKind, JobOrder, Jobs, Selection};
use postrider::domain::delivery::State;
use postrider::index::Query;
use tokio::time::Instant;

use crate::support::world::World;

fn order(rate_per_second: u32) -> JobOrder {
    let selection = Selection { states: vec![State::Failed], ..Selection::default() };
    let (matched, complete) = (0, true);
    JobOrder { kind: JobKind::Resend, selection, matched, complete, rate_per_second, by: "test".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_job_keeps_its_rate_and_touches_nothing_twice_and_nothing_new() {
    let world = World::new(7);
    world.receivers.set("w", |_| (500, Duration::from_millis(5)));
    world.webhook("w", 0, 60, 16).await;
    for number in 0..250 {
        world.post(&format!("old-{number}"), "{}").await.unwrap();
    }
    world.until_idle(Duration::from_mins(5)).await;
    let jobs = Jobs::new(world.store.clone(), world.dispatcher.clone());
    let began = Instant::now();
    let job = jobs.start(order(10)).unwrap();
    // What fails while the job is under way, it leaves alone; so it does with what it resent itself.
    for number in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.post(&format!("new-{number}"), "{}").await.unwrap();
    }
    let over = loop {
        let view = jobs.get(&job.id).unwrap();
        if view.state != "running" {
            break view;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let took = began.elapsed();
    assert_eq!((over.state.as_str(), over.changed, over.skipped, over.failed), ("done", 250, 0, 0));
    assert!(took >= Duration::from_millis(24_900) && took < Duration::from_secs(27), "{took:?}");
    world.until_idle(Duration::from_mins(5)).await;
    let mut sent: HashMap<String, u32> = HashMap::new();
    for receipt in world.receivers.receipts() {
        *sent.entry(receipt.event).or_default() += 1;
    }
    let found = world.deliveries(Query::default()).await;
    assert_eq!(found.len(), 300);
    for one in found {
        let old = one.event.event.scan_ref.as_deref().unwrap().starts_with("old");
        assert_eq!(sent[&one.event.event.id.to_string()], if old { 2 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_before_its_turn_is_left_alone_and_a_stop_is_at_once() {
    let world = World::new(8);
    world.receivers.set("w", |_| (500, Duration::from_millis(5)));
    world.webhook("w", 0, 60, 16).await;
    for number in 0..20 {
        world.post(&format!("r-{number}"), "{}").await.unwrap();
    }
    world.until_idle(Duration::from_mins(5)).await;
    world.receivers.set("w", |_| (200, Duration::from_millis(5)));
    let jobs = Jobs::new(world.store.clone(), world.dispatcher.clone());
    let job = jobs.start(order(1)).unwrap();
    // The oldest comes last.
    let oldest = world.find("r-0").await.iter().map(|found| found.id).min().unwrap();
    world.dispatcher.resend(oldest, "somebody else").await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let over = jobs.get(&job.id).unwrap();
    assert_eq!((over.state.as_str(), over.changed, over.skipped), ("done", 19, 1));
    assert_eq!(world.receivers.receipts().len(), 40);
    world.receivers.set("w", |_| (500, Duration::from_millis(5)));
    for number in 0..20 {
        world.post(&format!("s-{number}"), "{}").await.unwrap();
    }
    world.until_idle(Duration::from_mins(5)).await;
    let job = jobs.start(order(1)).unwrap();
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let stopped = jobs.stop(&job.id).await.unwrap();
    assert_eq!((stopped.state.as_str(), stopped.changed), ("stopped", 4));
    let last = jobs.start(order(1)).unwrap();
    jobs.close(Duration::from_secs(5)).await;
    assert_eq!(jobs.get(&last.id).unwrap().state, "stopped");
    assert!(jobs.start(order(1)).is_none(), "closed for good");
}
