//! Places that are lent while a name server is waited for.

use proptest::prelude::*;

use super::*;

/// Lanes with two places, and deliveries of as many webhooks as are asked for, all due.
fn two_places(webhooks: u8) -> (Lanes, Vec<DeliveryId>) {
    let policies = vec![OPEN; usize::from(webhooks)];
    let mut lanes = lanes_with(&policies);
    lanes.set_in_flight_max(2);
    let ids = (0..webhooks).map(|number| {
        let id = delivery_id(i64::from(number), 0);
        lanes.accept(id.event, location(id), &[webhook(number)]);
        id
    });
    let ids = ids.collect();
    (lanes, ids)
}

#[test]
fn a_lent_place_is_somebody_elses_and_comes_back_before_what_has_not_begun() {
    let (mut lanes, ids) = two_places(5);
    assert_eq!(start_all(&mut lanes, at_millis(10)), ids[..2]);
    assert!(lanes.lend(ids[0]));
    assert!(!lanes.lend(ids[0]), "once is enough");
    assert_eq!(start_all(&mut lanes, at_millis(10)), [ids[2]]);
    assert!(!lanes.take_back(ids[0]), "both places are taken");
    assert!(!lanes.take_back(ids[0]), "still");
    settle(&mut lanes, ids[1], 200, at_millis(20));
    assert_eq!(start_all(&mut lanes, at_millis(20)), [], "the place is for the one who had it");
    assert!(lanes.take_back(ids[0]));
    assert!(lanes.take_back(ids[0]), "it has it");
    settle(&mut lanes, ids[0], 200, at_millis(30));
    assert_eq!(start_all(&mut lanes, at_millis(30)), [ids[3]]);
}

#[test]
fn lanes_in_trouble_that_wait_for_a_name_do_not_use_up_the_share_of_those_in_trouble() {
    let (mut lanes, _) = two_places(2);
    let plan = RetryPlan { count: 100, ..PLAN };
    for round in 1..30 {
        let now = at_millis(round * 10_000);
        for id in start_all(&mut lanes, now) {
            lanes.settle(id, &Outcome::failed(ErrorKind::Dns), &plan, 0.0, now);
        }
    }
    // Both in trouble: of two places, one is for such.
    let later = at_millis(600_000);
    assert_eq!(start_all(&mut lanes, later).len(), 1);
    let first = *lanes.in_flight.keys().next().unwrap();
    assert!(lanes.lend(first));
    assert_eq!(start_all(&mut lanes, later).len(), 1, "the other gets its turn");
}

proptest! {
    #[test]
    fn whatever_is_lent_and_wanted_back_no_more_than_the_maximum_have_a_place(
        steps in prop::collection::vec((0_u8..5, any::<prop::sample::Index>()), 1..200),
    ) {
        let (mut lanes, _) = two_places(20);
        let mut flying: Vec<DeliveryId> = Vec::new();
        let mut lent: Vec<DeliveryId> = Vec::new();
        for (step, which) in steps {
            let now = at_millis(10);
            match step {
                0 | 1 => flying.extend(lanes.next(now).map(|job| job.id)),
                2 if !flying.is_empty() => {
                    let id = *which.get(&flying);
                    if lanes.lend(id) {
                        prop_assert!(!lent.contains(&id));
                        lent.push(id);
                    }
                }
                3 if !lent.is_empty() => {
                    let id = *which.get(&lent);
                    if lanes.take_back(id) {
                        lent.retain(|one| *one != id);
                    }
                }
                4 if !flying.is_empty() => {
                    let id = *which.get(&flying);
                    // Delivered, lent or not: a request may also end while it waits for a name.
                    settle(&mut lanes, id, 200, now);
                    flying.retain(|one| *one != id);
                    lent.retain(|one| *one != id);
                }
                _ => {}
            }
            prop_assert!(flying.len() - lent.len() <= 2, "{} have a place", flying.len() - lent.len());
        }
        for id in flying {
            settle(&mut lanes, id, 200, at_millis(10));
        }
        prop_assert_eq!(start_all(&mut lanes, at_millis(10)).len().min(2), lanes.pending().min(2) as usize, "no place is lost");
    }
}
