//! Names that are slow or lost, in simulated time: whoever waits for a name server keeps nobody from a place.

use std::time::Duration;

use crate::support::world::{IN_FLIGHT_MAX, World};

/// Forty webhooks whose names are not found after five seconds, for sixteen places.
#[tokio::test(start_paused = true)]
async fn names_that_are_not_found_take_no_places() {
    let world = World::new(5);
    for number in 0..40 {
        let name = format!("lost-{number}");
        world.receivers.set_name(&name, Duration::from_secs(5), false);
        world.receivers.set(&name, |_| (200, Duration::ZERO));
        world.webhook(&name, 3, 60, 8).await;
    }
    for number in 0..20 {
        let name = format!("slow-{number}");
        world.receivers.set_name(&name, Duration::from_millis(200), true);
        world.receivers.set(&name, |_| (200, Duration::from_millis(300)));
        world.webhook(&name, 3, 60, 8).await;
    }
    world.receivers.set("well", |_| (200, Duration::from_millis(2)));
    world.webhook("well", 0, 60, 8).await;
    for number in 0..100 {
        world.post(&format!("r{number}"), "{}").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    world.until_idle(Duration::from_hours(1)).await;
    let receipts = world.receivers.receipts();
    let slowest = |of: &str| {
        let waits = receipts.iter().filter(|receipt| receipt.webhook.starts_with(of)).map(|receipt| {
            let created = postrider::domain::id::EventId::parse(&receipt.event).unwrap().created_at();
            receipt.began.since(created)
        });
        waits.max().unwrap()
    };
    assert!(slowest("well") < Duration::from_millis(400), "{:?}", slowest("well"));
    // Twenty at once for sixteen places: the last of them wait for an exchange to end.
    assert!(slowest("slow") < Duration::from_millis(1_500), "{:?}", slowest("slow"));
    assert_eq!(receipts.iter().filter(|receipt| receipt.webhook.starts_with("slow")).count(), 20 * 100);
    assert!(receipts.iter().all(|receipt| !receipt.webhook.starts_with("lost")));
    assert!(world.receivers.most_in_all() <= IN_FLIGHT_MAX, "{} at once", world.receivers.most_in_all());
    crate::rows::covered(
        &["F23", "T20"],
        "names_that_are_not_found_take_no_places",
        format!("40 lost and 20 slow names, 16 places: a healthy one waits at most {:?}", slowest("well")),
    );
}

/// What waits because another of its webhook waits for the name begins as soon as that has it.
#[tokio::test(start_paused = true)]
async fn a_name_that_was_found_lets_the_next_one_begin() {
    let world = World::new(6);
    world.receivers.set_name("slow", Duration::from_millis(100), true);
    world.receivers.set("slow", |_| (200, Duration::from_secs(8)));
    world.webhook("slow", 0, 60, 4).await;
    world.post("first", "{}").await.unwrap();
    tokio::time::sleep(Duration::from_millis(70)).await;
    world.post("second", "{}").await.unwrap();
    world.until_idle(Duration::from_mins(5)).await;
    let receipts = world.receivers.receipts();
    let apart = receipts[1].began.since(receipts[0].began);
    assert!(apart < Duration::from_millis(200), "the second began {apart:?} after the first");
}
