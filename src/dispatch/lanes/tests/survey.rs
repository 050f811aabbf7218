//! What a look at the lanes tells, against a list of every delivery.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Accept(u8),
    Start,
    /// Ends one of those under way.
    End(usize, u16),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u8).prop_map(Step::Accept),
        3 => Just(Step::Start),
        3 => (0..64_usize, prop::sample::select(vec![200, 404, 500])).prop_map(|(place, code)| Step::End(place, code)),
        1 => (0..6_000_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// An open lane, a small one, an ordered one and a closed one.
    #[test]
    fn a_look_counts_what_a_list_counts(steps in prop::collection::vec(step(), 1..300)) {
        let closed = LanePolicy { open: false, ..OPEN };
        let mut lanes = lanes_with(&[OPEN, LanePolicy { in_flight_max: 1, ..OPEN }, ORDERED, closed]);
        lanes.restored();
        let (mut millis, mut accepted) = (0_u64, 0);
        // Where each waits that is not on its way, and those that are.
        let (mut waiting, mut flying) = (BTreeMap::<DeliveryId, (WebhookId, Delivery)>::new(), Vec::new());
        for step in steps {
            match step {
                Step::Accept(number) => {
                    accepted += 1;
                    let id = delivery_id(accepted, 0);
                    lanes.accept(id.event, location(id), &[webhook(number)]);
                    waiting.insert(id, (webhook(number), Delivery::accepted(id.event.created_at())));
                }
                Step::Start => {
                    if let Some(job) = lanes.next(at_millis(millis)) {
                        waiting.remove(&job.id);
                        flying.push(job);
                    }
                }
                Step::End(place, code) if !flying.is_empty() => {
                    let job = flying.swap_remove(place % flying.len());
                    let delivery = settle(&mut lanes, job.id, code, at_millis(millis));
                    if delivery.due_at().is_some() {
                        waiting.insert(job.id, (job.webhook, delivery));
                    }
                }
                Step::End(..) => {}
                Step::Pass(by) => millis += by,
            }
            let ids = [0, 1, 2, 3, 9].map(webhook);
            let seen = lanes.survey(&ids, at_millis(millis));
            prop_assert!(seen[4].is_none());
            for (id, seen) in ids.iter().zip(seen).take(4) {
                let seen = seen.unwrap();
                let own: Vec<_> = waiting.values().filter(|(of, _)| of == id).map(|(_, delivery)| *delivery).collect();
                let now = at_millis(millis).wall;
                // What was never tried is due, whatever its clock said.
                let retries = |one: &&Delivery| one.attempts_made() > 0 && one.due_at().unwrap() > now;
                let retry = own.iter().filter(retries).count() as u64;
                prop_assert_eq!((seen.due, seen.waiting_retry), (own.len() as u64 - retry, retry));
                prop_assert_eq!(seen.status.pending, own.len() as u64 + u64::from(seen.status.in_flight));
                let sends = *id != webhook(3) && !own.is_empty();
                prop_assert_eq!(seen.next_start.is_some(), sends);
                if *id == webhook(0) && retry == own.len() as u64 && sends {
                    let first = own.iter().map(|one| one.due_at().unwrap()).min().unwrap();
                    prop_assert!(START.plus(seen.next_start.unwrap()) >= first);
                }
            }
        }
    }
}

#[test]
fn what_was_withdrawn_is_not_waited_for() {
    let mut lanes = lanes_with(&[OPEN]);
    lanes.restored();
    let [first, second] = [0, 1].map(|millis| accept(&mut lanes, millis));
    assert_eq!(start_all(&mut lanes, at_millis(10)), [first.id, second.id]);
    let [waits, later] = [(first, 10), (second, 2_000)]
        .map(|(one, at)| Pending { delivery: settle(&mut lanes, one.id, 404, at_millis(at)), ..one });
    let look = |lanes: &Lanes, millis| {
        let seen = lanes.survey(&[webhook(0)], at_millis(millis))[0].unwrap();
        (seen.due, seen.waiting_retry, seen.next_start.map(|next| next.as_millis()))
    };
    assert_eq!(look(&lanes, 2_000), (0, 2, Some(5_010)));
    assert_eq!(look(&lanes, 5_010), (1, 1, Some(5_010)));
    lanes.cancel(&waits).unwrap();
    assert_eq!(look(&lanes, 2_000), (0, 1, Some(7_000)));
    let asked = lanes.resend(&later, at_millis(2_100));
    assert_eq!(look(&lanes, 2_200).2, Some(2_100));
    lanes.cancel(&Pending { delivery: asked, ..later }).unwrap();
    assert_eq!(look(&lanes, 2_300), (0, 0, None));
}

#[test]
fn a_look_at_very_many_is_bounded() {
    let mut lanes = lanes_with(&[OPEN]);
    for number in 0..150_000_u64 {
        let id = delivery_id(i64::try_from(number).unwrap(), 0);
        let delivery = failed(id, 1, START.plus(Duration::from_millis(number)));
        lanes.restore(&Pending { id, webhook: webhook(0), location: location(id), delivery }, at_millis(0));
    }
    lanes.restored();
    let look = |millis| {
        let seen = lanes.survey(&[webhook(0)], at_millis(millis))[0].unwrap();
        assert_eq!(seen.due + seen.waiting_retry, 150_000);
        seen.due
    };
    // They are due from 5 s on, one each millisecond: exact near both ends, and a bound between.
    assert_eq!(look(4_000), 0);
    assert_eq!(look(5_999), 1_000);
    assert_eq!(look(154_000), 149_001);
    let middle = look(80_000);
    assert!((75_000..=100_000).contains(&middle), "{middle}");
}
