//! What a webhook may ask for beyond its plan, in the whole daemon under simulated time: order,
//! and a limit of attempts per second. Every run prints its seed; `SEED=` repeats it.

use std::collections::HashSet;
use std::time::Duration;

use postrider::dispatch::Hold;
use postrider::domain::delivery::State;
use postrider::domain::time::Timestamp;
use postrider::index::Query;
use postrider::random::Random;

use crate::simulation::seeds;
use crate::support::world::{Receipt, START, World, text};

/// A receiver that refuses some by chance and says now and then that it is in trouble.
fn moody(seed: u64) -> impl Fn(Timestamp) -> (u16, Duration) {
    move |now| {
        let chance = Random::seeded(seed.wrapping_mul(31).wrapping_add(now.millis()));
        let takes = Duration::from_millis(1 + now.millis() % 90);
        match (chance.unit() * 10.0) as u32 {
            0..=4 => (200, takes),
            5..=6 => (404, takes),
            7 => (0, takes),
            _ => (503, takes),
        }
    }
}

/// No attempt began before every event accepted earlier had been taken.
fn check_order(accepted: &[String], receipts: &[Receipt]) {
    let mut taken: HashSet<&str> = HashSet::new();
    let mut first_taken = Vec::new();
    let mut ends: Vec<(Timestamp, &str)> = Vec::new();
    for receipt in receipts {
        for (ended, event) in std::mem::take(&mut ends) {
            if ended > receipt.began {
                ends.push((ended, event));
            } else if taken.insert(event) {
                first_taken.push(event.to_owned());
            }
        }
        let place = accepted.iter().position(|event| *event == receipt.event).expect("only what was accepted is sent");
        if let Some(missing) = accepted[..place].iter().find(|earlier| !taken.contains(earlier.as_str())) {
            panic!("{} was sent at {} before {missing} was taken", receipt.event, receipt.began);
        }
        ends.extend(receipt.ended.filter(|(_, code)| *code == 200).map(|(at, _)| (at, receipt.event.as_str())));
    }
    first_taken
        .extend(ends.into_iter().map(|(_, event)| event.to_owned()).filter(|event| !taken.contains(event.as_str())));
    assert_eq!(first_taken, accepted, "all of them, in the order they were accepted");
}

#[tokio::test(start_paused = true)]
async fn an_ordered_webhook_gets_everything_in_order_also_over_power_cuts() {
    for seed in seeds(4) {
        println!("seed {seed}");
        let mut world = World::new(seed);
        world.receivers.set("ordered", moody(seed));
        world.receivers.set("free", moody(seed + 1));
        let ordered = world.webhook("ordered", 60, 2, 8).await;
        world.webhook("free", 60, 2, 8).await;
        world.change(ordered, |webhook| webhook.ordered = true).await;
        let chance = Random::seeded(seed);
        let (mut accepted, mut cuts) = (Vec::new(), 0);
        for number in 0..60_u64 {
            let event = world.post(&format!("r{number}"), "{}").await.unwrap();
            accepted.push(text(event.id));
            if chance.unit() < 0.7 {
                tokio::time::sleep(Duration::from_millis((chance.unit() * 3_000.0) as u64)).await;
            }
            // Ids of two runs are in order when their milliseconds are.
            tokio::time::sleep(Duration::from_millis(2)).await;
            if chance.unit() < 0.1 {
                cuts += 1;
                world = world.crash(seed + number, number % 2 == 0).await;
            } else if number % 25 == 24 {
                world = world.restart().await;
            }
        }
        assert!(cuts > 0);
        world.until_idle(Duration::from_hours(2)).await;
        assert_eq!(world.dispatcher.load(), (0, 0), "everything comes to an end");
        let of = |name: &str| -> Vec<Receipt> {
            world.receivers.receipts().into_iter().filter(|receipt| receipt.webhook == name).collect()
        };
        check_order(&accepted, &of("ordered"));
        assert_eq!(world.receivers.most_in_flight("ordered"), 1);
        assert!(world.receivers.most_in_flight("free") > 1, "the other one is not held to it");
        assert!(world.deliveries(Query::default()).await.iter().all(|one| one.delivery.state() == State::Delivered));
    }
}

/// Behind a delivery that is given up the next one goes; one that an operator withdraws makes way
/// at once.
#[tokio::test(start_paused = true)]
async fn an_ordered_webhook_goes_on_behind_what_is_given_up_or_withdrawn() {
    let mut world = World::new(1);
    let well = START.plus(Duration::from_mins(14));
    world.receivers.set("w", move |now| (if now < well { 404 } else { 200 }, Duration::from_millis(3)));
    let webhook = world.webhook("w", 2, 300, 8).await;
    world.change(webhook, |webhook| webhook.ordered = true).await;
    for reference in ["given-up", "withdrawn", "delivered"] {
        world.post(reference, "{}").await.unwrap();
    }
    let sent = |world: &World| world.receivers.receipts().len();
    tokio::time::sleep(Duration::from_mins(4)).await;
    assert_eq!(sent(&world), 1, "the others wait for the first");
    let held = world.find("delivered").await.remove(0);
    assert_eq!(world.dispatcher.hold(held.id, webhook, &held.delivery), Some(Hold::InFlight));
    world = world.restart().await;
    tokio::time::sleep(Duration::from_mins(8)).await;
    assert_eq!(world.find("given-up").await[0].delivery.state(), State::Failed);
    assert_eq!(sent(&world), 4);
    let head = world.find("withdrawn").await[0].id;
    assert!(world.dispatcher.cancel(head, "alice").await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sent(&world), 5, "the next one's turn has come");
    // The head need not wait for its plan when an operator asks for it.
    tokio::time::sleep_until(tokio::time::Instant::now() + well.since(world.clock.now())).await;
    assert_eq!(world.find("delivered").await[0].delivery.state(), State::Pending);
    world.dispatcher.resend(held.id, "alice").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((sent(&world), world.dispatcher.load()), (6, (0, 0)));
    let ends = [("given-up", State::Failed), ("withdrawn", State::Cancelled), ("delivered", State::Delivered)];
    for (reference, state) in ends {
        assert_eq!(world.find(reference).await[0].delivery.state(), state, "{reference}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limited_webhook_gets_its_rate_and_the_one_beside_it_everything_at_once() {
    const SECOND: Duration = Duration::from_secs(1);
    let world = World::new(2);
    for name in ["limited", "free"] {
        world.receivers.set(name, |_| (200, Duration::from_millis(2)));
    }
    let limited = world.webhook("limited", 0, 60, 8).await;
    world.webhook("free", 0, 60, 8).await;
    world.change(limited, |webhook| webhook.rate_per_second = Some(10)).await;
    for number in 0..300 {
        world.post(&format!("r{number}"), "{}").await.unwrap();
    }
    tokio::time::sleep(SECOND).await;
    let waits = &world.find("r299").await.into_iter().find(|one| one.webhook == limited).unwrap();
    assert_eq!(world.dispatcher.hold(waits.id, limited, &waits.delivery), Some(Hold::Rate));
    world.until_idle(Duration::from_mins(5)).await;
    let began = |name: &str| -> Vec<Timestamp> {
        let receipts = world.receivers.receipts().into_iter().filter(|one| one.webhook == name);
        receipts.map(|receipt| receipt.began).collect()
    };
    let of_limited = began("limited");
    assert_eq!(of_limited.len(), 300);
    for (place, start) in of_limited.iter().enumerate() {
        let within = of_limited[place..].iter().filter(|one| one.since(*start) < SECOND).count();
        assert!(within <= 11, "{within} within a second");
    }
    let took = of_limited[299].since(of_limited[0]);
    assert!(took > Duration::from_millis(29_800) && took < Duration::from_millis(30_100), "{took:?}");
    let of_free = began("free");
    assert_eq!(of_free.len(), 300);
    assert!(of_free[299].since(of_free[0]) < SECOND * 3, "{:?}", of_free[299].since(of_free[0]));
    // A changed limit is in force at once, for what is posted and for what waits.
    for number in 0..100 {
        world.post(&format!("s{number}"), "{}").await.unwrap();
    }
    world.change(limited, |webhook| webhook.rate_per_second = None).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.dispatcher.load(), (0, 0));
}
