//! What the rules of single webhooks mean, in plain cases; `model` tries all of them at once.

mod lent;
mod model;
mod slow;
mod survey;

use std::collections::BTreeMap;

use super::*;
use crate::domain::attempt::ErrorKind;
use crate::domain::retry::Backoff;

const START: Timestamp = Timestamp::from_millis(1_795_425_932_000);
const PLAN: RetryPlan = RetryPlan {
    count: 2,
    interval: Duration::from_secs(5),
    backoff: Backoff::Fixed,
    interval_max: Duration::from_secs(5),
};
const OPEN: LanePolicy = LanePolicy { open: true, in_flight_max: 3, ordered: false, rate_per_second: None, version: 1 };
const ORDERED: LanePolicy = LanePolicy { ordered: true, ..OPEN };

fn webhook(number: u8) -> WebhookId {
    WebhookId::from_bytes([number; 16])
}

/// The id of the delivery to a webhook of the event accepted so many milliseconds after the start.
fn delivery_id(millis: i64, ordinal: u16) -> DeliveryId {
    let at = Timestamp::from_millis(START.millis().saturating_add_signed(millis));
    DeliveryId { event: EventId::first_at(at), ordinal }
}

fn location(id: DeliveryId) -> Location {
    Location { segment: id.event.created_at().millis(), offset: u32::from(id.ordinal), length: 1 }
}

fn at(elapsed: Duration) -> Now {
    Now { wall: START.plus(elapsed), elapsed }
}

fn at_millis(millis: u64) -> Now {
    at(Duration::from_millis(millis))
}

fn answer(code: u16) -> Outcome {
    Outcome { result: Ok(code), ..Outcome::failed(ErrorKind::Dns) }
}

/// A delivery as it stands after so many failures, the last of them at an instant.
fn failed(id: DeliveryId, failures: u32, last: Timestamp) -> Delivery {
    let accepted = Delivery::accepted(id.event.created_at());
    (0..failures).fold(accepted, |delivery, _| delivery.record(&answer(404), &PLAN, 0.0, last).delivery)
}

fn lanes_with(policies: &[LanePolicy]) -> Lanes {
    let mut lanes = Lanes::new(64);
    for (number, policy) in (0..).zip(policies) {
        lanes.set_policy(webhook(number), *policy);
    }
    lanes
}

/// Accepts an event for the first webhook alone.
fn accept(lanes: &mut Lanes, millis: i64) -> Pending {
    let id = delivery_id(millis, 0);
    lanes.accept(id.event, location(id), &[webhook(0)]);
    let delivery = Delivery::accepted(id.event.created_at());
    Pending { id, webhook: webhook(0), location: location(id), delivery }
}

fn settle(lanes: &mut Lanes, id: DeliveryId, code: u16, now: Now) -> Delivery {
    lanes.settle(id, &answer(code), &PLAN, 0.0, now).delivery
}

/// What starts now, as the milliseconds of the ids.
fn start_all(lanes: &mut Lanes, now: Now) -> Vec<DeliveryId> {
    std::iter::from_fn(|| lanes.next(now)).map(|job| job.id).collect()
}

#[test]
fn a_fresh_delivery_takes_forty_bytes() {
    assert_eq!(size_of::<Fresh>(), 40);
}

#[test]
fn the_head_blocks_until_it_has_come_to_its_end() {
    let mut lanes = lanes_with(&[ORDERED]);
    lanes.restored();
    let [first, second, third] = [0, 1, 2].map(|millis| accept(&mut lanes, millis));
    assert_eq!(start_all(&mut lanes, at_millis(10)), [first.id]);
    settle(&mut lanes, first.id, 500, at_millis(20));
    assert_eq!(start_all(&mut lanes, at_millis(5_019)), []);
    assert_eq!(lanes.hold(second.id, webhook(0), &second.delivery, at_millis(5_019)), Some(Hold::InFlight));
    assert_eq!(lanes.next_wake(), Some(Duration::from_millis(5_021)));
    assert_eq!(start_all(&mut lanes, at_millis(5_021)), [first.id]);
    settle(&mut lanes, first.id, 200, at_millis(5_030));
    assert_eq!(start_all(&mut lanes, at_millis(5_030)), [second.id]);
    let waits = settle(&mut lanes, second.id, 500, at_millis(5_040));
    assert_eq!(start_all(&mut lanes, at_millis(5_041)), []);
    // Withdrawn: it blocks nobody any more.
    assert!(lanes.cancel(&Pending { delivery: waits, ..second }).is_some());
    assert_eq!(start_all(&mut lanes, at_millis(5_041)), [third.id]);
    settle(&mut lanes, third.id, 200, at_millis(5_042));
    assert_eq!(lanes.pending(), 0);
}

#[test]
fn a_resend_of_the_head_goes_at_once_and_one_of_what_is_settled_goes_beside_it() {
    let mut lanes = lanes_with(&[ORDERED]);
    lanes.restored();
    let settled = accept(&mut lanes, 0);
    assert_eq!(start_all(&mut lanes, at_millis(1)), [settled.id]);
    let delivered = settle(&mut lanes, settled.id, 200, at_millis(2));
    let [head, behind] = [3, 4].map(|millis| accept(&mut lanes, millis));
    assert_eq!(start_all(&mut lanes, at_millis(5)), [head.id]);
    let waits = settle(&mut lanes, head.id, 500, at_millis(6));
    lanes.resend(&Pending { delivery: delivered, ..settled }, at_millis(7));
    assert_eq!(start_all(&mut lanes, at_millis(7)), [settled.id]);
    // While that is under way, nothing else is, whoever asks.
    let asked = lanes.resend(&Pending { delivery: waits, ..head }, at_millis(8));
    lanes.resend(&behind, at_millis(8));
    assert_eq!(start_all(&mut lanes, at_millis(8)), []);
    assert_eq!(lanes.hold(head.id, webhook(0), &asked, at_millis(8)), Some(Hold::InFlight));
    settle(&mut lanes, settled.id, 500, at_millis(9));
    assert_eq!(start_all(&mut lanes, at_millis(9)), [head.id]);
    // The resend failed and left the plan as it was: the head waits for its retry again.
    assert_eq!(settle(&mut lanes, head.id, 500, at_millis(10)).due_at(), waits.due_at());
    assert_eq!(start_all(&mut lanes, at_millis(5_000)), []);
    assert_eq!(start_all(&mut lanes, at_millis(5_007)), [head.id]);
    settle(&mut lanes, head.id, 200, at_millis(5_008));
    assert_eq!(start_all(&mut lanes, at_millis(5_008)), [behind.id]);
}

#[test]
fn what_was_pending_at_the_start_comes_first() {
    for restored_early in [false, true] {
        let mut lanes = lanes_with(&[ORDERED]);
        let fresh = [accept(&mut lanes, 1), accept(&mut lanes, 2)].map(|pending| pending.id);
        let older = [-30, -20, -10].map(|millis| delivery_id(millis, 0));
        assert_eq!(start_all(&mut lanes, at_millis(3)), [], "the order is not known yet");
        if restored_early {
            lanes.restored();
        }
        // In any order; the middle one was tried.
        for id in [older[1], older[2], older[0]] {
            let delivery = failed(id, u32::from(id == older[1]), START.minus(Duration::from_secs(6)));
            lanes.restore(&Pending { id, webhook: webhook(0), location: location(id), delivery }, at_millis(4));
        }
        lanes.restored();
        for id in older.into_iter().chain(fresh) {
            assert_eq!(start_all(&mut lanes, at_millis(5)), [id]);
            settle(&mut lanes, id, 200, at_millis(5));
        }
    }
}

#[test]
fn order_can_be_asked_for_and_let_go_of_at_any_time() {
    let mut lanes = lanes_with(&[OPEN]);
    lanes.restored();
    let ids = [0, 1, 2, 3, 4].map(|millis| accept(&mut lanes, millis).id);
    assert_eq!(start_all(&mut lanes, at_millis(5)), ids[..3]);
    settle(&mut lanes, ids[1], 404, at_millis(6));
    lanes.set_policy(webhook(0), ORDERED);
    settle(&mut lanes, ids[2], 404, at_millis(7));
    assert_eq!(start_all(&mut lanes, at_millis(8)), [], "the first is still under way");
    settle(&mut lanes, ids[0], 200, at_millis(9));
    assert_eq!(start_all(&mut lanes, at_millis(9)), [], "the second waits for its retry");
    assert_eq!(start_all(&mut lanes, at_millis(5_010)), [ids[1]]);
    lanes.set_policy(webhook(0), OPEN);
    assert_eq!(start_all(&mut lanes, at_millis(5_011)), [ids[2], ids[3]]);
}

#[test]
fn a_dead_receiver_of_an_ordered_webhook_is_asked_gently() {
    let mut lanes = lanes_with(&[ORDERED]);
    lanes.restored();
    let ids: Vec<DeliveryId> = (0..3).map(|millis| accept(&mut lanes, millis).id).collect();
    let (mut now, mut sent, mut cooled) = (at_millis(10), Vec::new(), 0);
    loop {
        while let Some(job) = lanes.next(now) {
            sent.push((job.id, now.elapsed));
            let delivery = settle(&mut lanes, job.id, 503, now);
            if delivery.due_at().is_some() && lanes.status(webhook(0)).is_some_and(|lane| lane.cooling) {
                assert_eq!(lanes.hold(job.id, webhook(0), &delivery, now), Some(Hold::CoolingDown));
                cooled += 1;
            }
        }
        match lanes.next_wake() {
            Some(wake) => now = at(wake),
            None => break,
        }
    }
    // Each gives up before the next begins, which then waits as long as a receiver in trouble is
    // left alone.
    let expected: Vec<DeliveryId> = ids.iter().flat_map(|id| [*id; 3]).collect();
    assert_eq!(sent.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
    assert!(cooled > 0);
    let pause = sent[6].1.saturating_sub(sent[5].1);
    assert!(pause >= Duration::from_millis(110) && pause < Duration::from_millis(120), "{pause:?}");
}

/// Attempts that take so long, with more due than can be sent, for ten seconds.
fn busy(policies: &[LanePolicy], takes: Duration) -> BTreeMap<WebhookId, Vec<Duration>> {
    let mut lanes = lanes_with(policies);
    lanes.restored();
    let webhooks: Vec<WebhookId> = (0..).zip(policies).map(|(number, _)| webhook(number)).collect();
    for millis in 0..6_000 {
        let id = delivery_id(millis, 0);
        lanes.accept(id.event, location(id), &webhooks);
    }
    let mut starts: BTreeMap<WebhookId, Vec<Duration>> = BTreeMap::new();
    let mut flying: BTreeSet<(Duration, DeliveryId)> = BTreeSet::new();
    let mut now = Duration::ZERO;
    while now < Duration::from_secs(10) {
        while let Some(job) = lanes.next(at(now)) {
            starts.entry(job.webhook).or_default().push(now);
            flying.insert((now + takes, job.id));
        }
        let wake = lanes.next_wake();
        assert!(wake.is_none_or(|wake| wake > now), "it would be woken again and again");
        now = flying.first().map(|(ends, _)| *ends).into_iter().chain(wake).min().unwrap();
        while flying.first().is_some_and(|(ends, _)| *ends <= now) {
            let (_, id) = flying.pop_first().unwrap();
            settle(&mut lanes, id, 200, at(now));
        }
    }
    starts
}

#[test]
fn a_rate_is_kept_and_reached_and_holds_up_nobody_else() {
    for (rate, takes) in [(10, 3), (10, 120), (25, 1), (400, 1)] {
        let limited = LanePolicy { rate_per_second: Some(rate), in_flight_max: 8, ..OPEN };
        let slow = LanePolicy { in_flight_max: 1, ..OPEN };
        let starts = busy(&[limited, slow], Duration::from_millis(takes));
        let (of_limited, of_slow) = (&starts[&webhook(0)], &starts[&webhook(1)]);
        let wanted = rate as usize * 10;
        assert!(of_limited.len() + 1 >= wanted, "{} of {wanted}", of_limited.len());
        let burst = Rate::burst(rate) as usize;
        assert!(of_limited.len() <= wanted + burst);
        for start in of_limited {
            let within = of_limited.iter().filter(|one| **one >= *start && **one < *start + Duration::from_secs(1));
            assert!(within.count() <= rate as usize + burst);
        }
        let undisturbed = (10_000 / takes).min(6_000);
        assert_eq!(of_slow.len() as u64, undisturbed + u64::from(10_000 % takes > 0 && undisturbed < 6_000));
    }
}

#[test]
fn an_empty_bucket_is_told_as_the_reason_and_a_changed_rate_is_in_force_at_once() {
    let limited = LanePolicy { rate_per_second: Some(1), ..OPEN };
    let mut lanes = lanes_with(&[limited]);
    let [first, second] = [0, 1].map(|millis| accept(&mut lanes, millis));
    assert_eq!(start_all(&mut lanes, at_millis(10)), [first.id]);
    let hold = |lanes: &Lanes| lanes.hold(second.id, webhook(0), &second.delivery, at_millis(20));
    assert_eq!(hold(&lanes), Some(Hold::Rate));
    assert_eq!(Hold::Rate.as_str(), "rate");
    let wake = lanes.next_wake().unwrap();
    assert!(wake > Duration::from_millis(990) && wake <= Duration::from_millis(1_011), "{wake:?}");
    lanes.set_policy(webhook(0), LanePolicy { rate_per_second: Some(100), ..limited });
    assert_eq!(hold(&lanes), None);
    assert_eq!(start_all(&mut lanes, at_millis(20)), [second.id]);
}
