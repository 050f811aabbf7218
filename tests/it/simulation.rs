//! Hours of deliveries in moments: the whole daemon under simulated time, disk and receivers,
//! with the promises checked along the way. Every run prints its seed; `SEED=` repeats it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use postrider::domain::attempt::ErrorKind;
use postrider::domain::delivery::State;
use postrider::domain::id::WebhookId;
use postrider::index::Query;
use postrider::random::Random;

use crate::support::world::{IN_FLIGHT_MAX, Receipt, START, World, text};

/// A receiver that is up and down in stretches of some minutes, by chance.
fn flapping(seed: u64, up_share: f64) -> impl Fn(postrider::domain::time::Timestamp) -> (u16, Duration) {
    move |now| {
        let stretch = now.since(START).as_secs() / 400;
        let chance = Random::seeded(seed.wrapping_mul(31).wrapping_add(stretch));
        let takes = Duration::from_millis(1 + now.millis() % 700);
        if chance.unit() < up_share {
            return (200, takes);
        }
        match (chance.unit() * 5.0) as u32 {
            0 => (0, Duration::ZERO),
            1 => (503, takes),
            2 => (302, takes),
            // Longer than the timeout.
            3 => (200, Duration::from_secs(30)),
            _ => (500, takes),
        }
    }
}

struct Plan {
    count: u16,
    interval: u64,
    in_flight: u16,
}

/// The last one's webhook takes only payloads with an even number; the others are skipped.
const PLANS: [Plan; 5] = [
    Plan { count: 5, interval: 60, in_flight: 8 },
    Plan { count: 0, interval: 60, in_flight: 1 },
    Plan { count: 12, interval: 300, in_flight: 2 },
    Plan { count: 3, interval: 1, in_flight: 16 },
    Plan { count: 1, interval: 30, in_flight: 4 },
];

struct Setup {
    world: World,
    webhooks: Vec<WebhookId>,
    accepted: Vec<String>,
    /// Those that the last webhook's filter does not let through.
    odd: HashSet<String>,
}

async fn set_up(seed: u64) -> Setup {
    let world = World::new(seed);
    let mut webhooks = Vec::new();
    for (number, plan) in (0_u32..).zip(&PLANS) {
        let name = format!("w{number}");
        let up_share = [0.9, 0.6, 0.3, 0.5, 0.7][number as usize];
        world.receivers.set(&name, flapping(seed + u64::from(number), up_share));
        webhooks.push(world.webhook(&name, plan.count, plan.interval, plan.in_flight).await);
    }
    let setup = Setup { world, webhooks, accepted: Vec::new(), odd: HashSet::new() };
    setup.set_filter().await;
    setup
}

impl Setup {
    async fn set_filter(&self) {
        self.world.filter(*self.webhooks.last().unwrap(), "/even").await;
    }

    async fn post(&mut self, number: u32) {
        let even = number.is_multiple_of(2);
        let payload = format!("{{\"scanRef\":\"ref-{number}\",\"n\":{number},\"even\":{even}}}");
        let accepted = self.world.post(&format!("ref-{number}"), &payload).await.unwrap();
        assert_eq!(accepted.deliveries, PLANS.len() - usize::from(!even), "what is skipped is not counted");
        self.accepted.push(text(accepted.id));
        if !even {
            self.odd.insert(text(accepted.id));
        }
    }

    /// The power goes and comes back; the index is lost.
    async fn crash(mut self, seed: u64) -> Self {
        self.world = self.world.crash(seed, true).await;
        self.world.until_ready().await;
        self.set_filter().await;
        self
    }

    /// Exactly one delivery for each accepted event and webhook; pending exactly when due; the
    /// history says the same as the state; nothing beyond a limit.
    async fn check(&self) {
        let found = self.world.deliveries(Query::default()).await;
        let mut seen = HashSet::new();
        for one in &found {
            assert!(seen.insert((text(one.event.event.id), one.webhook)), "{} is there twice", one.id);
            let delivery = &one.delivery;
            assert_eq!(delivery.state() == State::Pending, delivery.due_at().is_some(), "{}", one.id);
            assert_eq!(delivery.attempts_made() as usize, one.attempts.len(), "{}", one.id);
            let succeeded = one.attempts.iter().any(|attempt| attempt.outcome.is_success());
            assert_eq!(delivery.state() == State::Delivered, succeeded, "{}", one.id);
            let plan = &PLANS[self.webhooks.iter().position(|id| *id == one.webhook).unwrap()];
            assert!(delivery.automatic_made() <= plan.count + 1, "{}", one.id);
            let odd = self.odd.contains(&text(one.event.event.id));
            let skipped = odd && Some(&one.webhook) == self.webhooks.last();
            assert_eq!(delivery.state() == State::Skipped, skipped, "{}", one.id);
            assert_eq!(one.event.skipped, u16::from(odd), "{}", one.id);
            assert!(!skipped || one.attempts.is_empty(), "{} was sent", one.id);
            if delivery.state() == State::Failed {
                assert_eq!(delivery.automatic_made(), plan.count + 1, "{} gave up early", one.id);
            }
        }
        for event in &self.accepted {
            for webhook in &self.webhooks {
                assert!(seen.contains(&(event.clone(), *webhook)), "{event} has no delivery to {webhook}");
            }
        }
        for (number, plan) in PLANS.iter().enumerate() {
            assert!(self.world.receivers.most_in_flight(&format!("w{number}")) <= usize::from(plan.in_flight));
        }
        assert!(self.world.receivers.most_in_all() <= IN_FLIGHT_MAX);
    }
}

/// For each event and webhook, its exchanges in order.
fn by_delivery(receipts: Vec<Receipt>) -> BTreeMap<(String, String), Vec<Receipt>> {
    let mut sorted: BTreeMap<_, Vec<Receipt>> = BTreeMap::new();
    for receipt in receipts {
        sorted.entry((receipt.webhook.clone(), receipt.event.clone())).or_default().push(receipt);
    }
    sorted
}

/// No attempt before the interval after the one before it has passed.
fn check_spacing(receipts: Vec<Receipt>) {
    for ((webhook, event), list) in by_delivery(receipts) {
        let plan = &PLANS[webhook[1..].parse::<usize>().unwrap()];
        for pair in list.windows(2) {
            let (ended, _) = pair[0].ended.unwrap();
            let waited = pair[1].began.since(ended);
            assert!(
                waited >= Duration::from_secs(plan.interval),
                "{webhook} {event}: only {waited:?} after an attempt"
            );
            assert_eq!(pair[1].attempt, pair[0].attempt + 1);
            assert_eq!(pair[1].body, pair[0].body);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's knob, read where it is used")]
pub(crate) fn seeds(few: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=few).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn ten_hours_of_retries() {
    for seed in seeds(3) {
        println!("seed {seed}");
        let mut setup = set_up(seed).await;
        let chance = Random::seeded(seed);
        for number in 0..120 {
            setup.post(number).await;
            tokio::time::sleep(Duration::from_millis((chance.unit() * 300_000.0) as u64)).await;
            if number % 10 == 0 {
                setup.check().await;
            }
        }
        setup.world.until_idle(Duration::from_hours(5)).await;
        setup.check().await;
        assert_eq!(setup.world.dispatcher.load(), (0, 0), "everything comes to an end");
        assert!(setup.world.clock.now().since(START) > Duration::from_hours(4));
        check_spacing(setup.world.receivers.receipts());
        // The whole again from the journal alone.
        let before = setup.world.deliveries(Query::default()).await;
        setup = setup.crash(seed).await;
        assert_eq!(setup.world.deliveries(Query::default()).await, before, "a rebuilt index says the same");
    }
}

#[tokio::test(start_paused = true)]
async fn power_cuts_at_any_moment_lose_nothing_that_was_accepted() {
    for seed in seeds(6) {
        println!("seed {seed}");
        let mut setup = set_up(seed).await;
        let chance = Random::seeded(seed ^ 0xffff);
        let mut cuts = 0_u32;
        for number in 0..80 {
            setup.post(number).await;
            tokio::time::sleep(Duration::from_millis((chance.unit() * 20_000.0) as u64)).await;
            if chance.unit() < 0.1 {
                cuts += 1;
                setup = setup.crash(seed + u64::from(number)).await;
            }
        }
        setup.world.until_idle(Duration::from_hours(3)).await;
        setup.check().await;
        // An attempt may be repeated after a cut, when nobody had noted it yet: at most what was
        // in flight, and what ended within the last moments.
        let mut repeated = 0;
        for ((webhook, event), list) in by_delivery(setup.world.receivers.receipts()) {
            assert!(setup.accepted.contains(&event), "{webhook} got {event}, which was never accepted");
            let distinct: HashSet<u32> = list.iter().map(|receipt| receipt.attempt).collect();
            repeated += list.len() - distinct.len();
        }
        println!("{cuts} power cuts, {repeated} attempts repeated");
        assert!(repeated <= cuts as usize * IN_FLIGHT_MAX * 2, "{repeated} attempts repeated after {cuts} cuts");
    }
}

#[tokio::test(start_paused = true)]
async fn certificates_of_no_use_stop_what_they_belong_to() {
    let world = World::new(7);
    world.receivers.set("w", |_| (200, Duration::ZERO));
    let id = world.webhook("w", 1, 60, 1).await;
    world.change(id, |webhook| webhook.tls.ca = Some("nothing".to_owned())).await;
    world.post("r", "{}").await.unwrap();
    world.until_idle(Duration::from_mins(10)).await;
    let found = world.find("r").await;
    let results: Vec<_> = found[0].attempts.iter().map(|attempt| attempt.outcome.result).collect();
    assert_eq!((found[0].delivery.state(), results), (State::Failed, vec![Err(ErrorKind::Tls); 2]));
    assert!(world.receivers.receipts().is_empty(), "not sent without them either");
}

#[tokio::test(start_paused = true)]
async fn restarts_keep_attempts_and_due_times() {
    let mut world = World::new(1);
    world.receivers.set("slow", |_| (503, Duration::from_millis(5)));
    world.webhook("slow", 4, 600, 2).await;
    let accepted = world.post("r", "{}").await.unwrap();
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(130)).await;
        world = world.restart().await;
        world.until_ready().await;
    }
    let receipts = world.receivers.receipts();
    assert_eq!(receipts.len(), 5);
    for (pair, number) in receipts.windows(2).zip(1_u32..) {
        assert_eq!((pair[0].event.as_str(), pair[0].attempt), (text(accepted.id).as_str(), number));
        let waited = pair[1].began.since(pair[0].ended.unwrap().0);
        assert!(waited >= Duration::from_secs(600) && waited <= Duration::from_secs(661), "{waited:?}");
    }
    assert_eq!(world.find("r").await[0].delivery.state(), State::Failed);
    crate::rows::covered(
        &["F35"],
        "restarts_keep_attempts_and_due_times",
        "attempts and due times exact over restarts",
    );
}

/// One failure in five is trouble five times in a row every quarter of a minute, and no outage.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_fails_now_and_then_keeps_up() {
    let world = World::new(5);
    world.receivers.set("flaky", |now| {
        // As good as chance.
        let mixed = now.millis().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        (if mixed.is_multiple_of(5) { 503 } else { 200 }, Duration::from_millis(2))
    });
    world.webhook("flaky", 10, 1, 8).await;
    for number in 0..12_000 {
        world.post(&format!("r{number}"), "{}").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let receipts = world.receivers.receipts();
    let of = |wanted| receipts.iter().filter(|one| one.ended.is_some_and(|(_, code)| code == wanted)).count();
    assert!(of(503) > 1_000, "{} failures", of(503));
    assert!(of(200) > 11_000, "{} of 12,000 taken after a minute", of(200));
    world.until_idle(Duration::from_mins(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_receiver_delays_nobody_and_is_not_trampled_when_it_returns() {
    let world = World::new(2);
    let back = START.plus(Duration::from_mins(30));
    world
        .receivers
        .set("dead", move |now| if now < back { (0, Duration::ZERO) } else { (200, Duration::from_millis(2)) });
    world.receivers.set("well", |_| (200, Duration::from_millis(2)));
    world.webhook("dead", 20, 60, 8).await;
    world.webhook("well", 0, 60, 8).await;
    for number in 0..3_000 {
        world.post(&format!("r{number}"), "{}").await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.until_idle(Duration::from_hours(4)).await;
    let receipts = world.receivers.receipts();
    let slowest = receipts.iter().filter(|receipt| receipt.webhook == "well").map(|receipt| {
        let created = postrider::domain::id::EventId::parse(&receipt.event).unwrap().created_at();
        receipt.began.since(created)
    });
    assert!(slowest.max().unwrap() < Duration::from_millis(100));
    let returned: Vec<_> = receipts.iter().filter(|one| one.webhook == "dead" && one.began >= back).collect();
    let first = returned[0].began;
    let within =
        |seconds: u64| returned.iter().filter(|one| one.began.since(first) < Duration::from_secs(seconds)).count();
    assert!(within(1) <= 11, "{} in the first second of its return", within(1));
    assert!(within(3) <= 75, "{} in the first three seconds", within(3));
    assert_eq!(returned.iter().filter(|one| one.ended.is_some_and(|(_, code)| code == 200)).count(), 3_000);
    let before: HashMap<u64, usize> = receipts
        .iter()
        .filter(|one| one.webhook == "dead" && one.began < back && one.began > START.plus(Duration::from_mins(2)))
        .fold(HashMap::new(), |mut seconds, one| {
            *seconds.entry(one.began.seconds()).or_default() += 1;
            seconds
        });
    assert!(before.values().all(|count| *count <= 10), "asked gently while it is away");
    crate::rows::covered(
        &["F36", "F38", "T20"],
        "a_dead_receiver_delays_nobody_and_is_not_trampled_when_it_returns",
        "hours of simulated time: nobody else waits, and the returned one is asked gently",
    );
}

#[tokio::test(start_paused = true)]
async fn resend_and_cancel_mean_what_they_say() {
    let mut world = World::new(3);
    world.receivers.set("w", |now| {
        if now < START.plus(Duration::from_mins(5)) { (500, Duration::ZERO) } else { (200, Duration::ZERO) }
    });
    let webhook = world.webhook("w", 1, 3_600, 4).await;
    for reference in ["resent", "cancelled", "left"] {
        world.post(reference, "{}").await.unwrap();
    }
    tokio::time::sleep(Duration::from_mins(6)).await;
    let id = |found: Vec<postrider::index::Found>| found[0].id;
    let (resent, cancelled) = (id(world.find("resent").await), id(world.find("cancelled").await));
    world.dispatcher.resend(resent, "alice").await.unwrap();
    assert!(world.dispatcher.cancel(cancelled, "alice").await.unwrap());
    assert!(!world.dispatcher.cancel(cancelled, "alice").await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    world = world.restart().await;
    world.until_ready().await;
    let state = |found: Vec<postrider::index::Found>| (found[0].delivery.state(), found[0].attempts.len());
    assert_eq!(state(world.find("resent").await), (State::Delivered, 2));
    assert_eq!(state(world.find("cancelled").await), (State::Cancelled, 1));
    assert_eq!(state(world.find("left").await), (State::Pending, 1));
    // A resend waits while its webhook is paused, also over a restart, and goes out afterwards.
    world.change(webhook, |webhook| webhook.paused = true).await;
    world.dispatcher.resend(cancelled, "alice").await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(state(world.find("cancelled").await), (State::Pending, 1));
    world = world.crash(9, true).await;
    world.until_ready().await;
    world.change(webhook, |webhook| webhook.paused = false).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(state(world.find("cancelled").await), (State::Delivered, 2));
    let sent: Vec<_> =
        world.receivers.receipts().into_iter().filter(|one| one.event == text(cancelled.event)).collect();
    assert_eq!(sent.iter().map(|one| one.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(sent[0].event, sent[1].event);
}

/// Operators who all press the same button ask for one more attempt, not for one each.
#[tokio::test(start_paused = true)]
async fn many_changes_at_once_leave_one_truth() {
    let world = World::new(6);
    world.receivers.set("w", |_| (200, Duration::from_millis(50)));
    let webhook = world.webhook("w", 0, 60, 2).await;
    world.post("r", "{}").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let id = world.find("r").await[0].id;
    for round in 0..4 {
        world.change(webhook, |webhook| webhook.paused = true).await;
        let mut asked = Vec::new();
        for number in 0..30 {
            let dispatcher = world.dispatcher.clone();
            asked.push(tokio::spawn(async move {
                if round > 0 && number % 3 == round - 1 {
                    dispatcher.cancel(id, "bob").await.map(|_| ())
                } else {
                    dispatcher.resend(id, "alice").await
                }
            }));
        }
        for one in asked {
            // The delivery may be changing too fast for one of them, who is told to try again.
            let _ = one.await.unwrap();
        }
        world.change(webhook, |webhook| webhook.paused = false).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.dispatcher.load(), (0, 0), "round {round}");
        let found = &world.find("r").await[0];
        assert_eq!(found.delivery.due_at(), None, "round {round}");
        let sent = world.receivers.receipts();
        assert_eq!(found.attempts.len(), sent.len(), "round {round}: each attempt is noted once");
        assert!(sent.len() <= 2 + round, "round {round}: {} attempts", sent.len());
    }
    assert!(world.receivers.most_in_flight("w") <= 1, "never two at once of one delivery");
}

/// What an operator changes while the disk is full is in force, and noted when there is room.
#[tokio::test(start_paused = true)]
async fn a_change_on_a_full_disk_is_not_half_done() {
    let mut world = World::new(7);
    world.receivers.set("w", |_| (200, Duration::ZERO));
    let webhook = world.webhook("w", 0, 60, 2).await;
    world.change(webhook, |webhook| webhook.paused = true).await;
    world.post("r", "{}").await.unwrap();
    let id = world.find("r").await[0].id;
    world.disk.set_capacity(Some(world.disk.used()));
    assert!(world.dispatcher.cancel(id, "alice").await.is_err(), "it is not durable yet");
    assert!(world.post("other", "{}").await.is_err());
    assert_eq!(world.find("r").await.len(), 1, "looking goes on");
    world.disk.set_capacity(None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.change(webhook, |webhook| webhook.paused = false).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for lose_index in [false, true] {
        assert_eq!(world.find("r").await[0].delivery.state(), State::Cancelled);
        assert_eq!(world.dispatcher.load(), (0, 0));
        world = if lose_index { world.crash(1, true).await } else { world.restart().await };
        world.until_ready().await;
    }
    assert_eq!(world.receivers.receipts().len(), 0);
}

/// A change that is on the disk is in force, also when whoever asked for it has gone away.
#[tokio::test(start_paused = true)]
async fn a_configuration_change_goes_on_without_its_operator() {
    let world = World::new(8);
    let webhook = world.webhook("w", 0, 60, 2).await;
    for round in 1..20_u32 {
        let mut change = Box::pin(world.change(webhook, |webhook| webhook.name = format!("name-{round}")));
        for _ in 0..round % 5 {
            if poll_once(&mut change).await {
                break;
            }
        }
        drop(change);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = world.store.config().webhooks[&webhook].clone();
        let stored = world.store.webhook_version(webhook, now.version).await.unwrap().unwrap();
        assert_eq!(stored.name, now.name);
        world.change(webhook, |webhook| webhook.active = true).await;
        let index = world.store.webhook_version(webhook, now.version).await.unwrap().unwrap();
        assert_eq!(index.name, now.name, "each version is one webhook");
    }
}

/// A poster that goes away before its answer, and posts again at once, has posted one event.
#[tokio::test(start_paused = true)]
async fn a_poster_that_gives_up_and_posts_again_has_posted_once() {
    let world = World::new(5);
    world.receivers.set("w", |_| (200, Duration::ZERO));
    world.webhook("w", 0, 60, 4).await;
    world.until_ready().await;
    for round in 0..40_u32 {
        let key = format!("key-{round}");
        let mut first = Box::pin(world.post_keyed("r", "{}", &key));
        // As far as it gets in so many steps, and then it is dropped.
        for _ in 0..round {
            if poll_once(&mut first).await {
                break;
            }
        }
        drop(first);
        let again = world.post_keyed("r", "{}", &key).await.unwrap();
        let once_more = world.post_keyed("r", "{}", &key).await.unwrap();
        assert_eq!((once_more.id, once_more.duplicate), (again.id, true));
    }
    world.until_idle(Duration::from_mins(5)).await;
    assert_eq!(world.find("r").await.len(), 40);
}

/// Lets a future get on by one step; tells whether it has come to its end.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    let step = |context: &mut std::task::Context<'_>| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_ready())
    };
    let ended = std::future::poll_fn(step).await;
    tokio::task::yield_now().await;
    ended
}
