//! Slow receivers and the places that they leave.

use super::*;

const SLOWS: u8 = 10;
const QUICK: u8 = SLOWS;

/// Lanes for slow receivers and one quick one, and an event for all of them.
fn lanes(in_flight_max: usize) -> Lanes {
    let mut lanes = Lanes::new(in_flight_max);
    (0..=QUICK).for_each(|number| lanes.set_policy(webhook(number), OPEN));
    lanes
}

fn accept_for_all(lanes: &mut Lanes, millis: i64) {
    let id = delivery_id(millis, 0);
    let webhooks: Vec<_> = (0..=QUICK).map(webhook).collect();
    lanes.accept(id.event, location(id), &webhooks);
}

/// Starts what can start, and ends what is the quick receiver's; how many of the slow ones started.
fn round(lanes: &mut Lanes, now: Now) -> (usize, usize) {
    let (mut slow, mut quick) = (0, 0);
    while let Some(job) = lanes.next(now) {
        if job.webhook == webhook(QUICK) {
            quick += 1;
            settle(lanes, job.id, 200, now);
        } else {
            slow += 1;
        }
    }
    (slow, quick)
}

#[test]
fn slow_lanes_leave_places_to_quick_ones_before_anything_of_theirs_has_ended() {
    let mut lanes = lanes(16);
    let mut began = 0;
    for second in 0..5_u64 {
        accept_for_all(&mut lanes, i64::try_from(second * 1000).unwrap());
        let (slow, quick) = round(&mut lanes, at_millis(second * 1000));
        began += slow;
        assert_eq!(quick, 1, "in second {second}, with {began} slow ones under way");
    }
    // At first nobody knows who is slow; then they have three quarters.
    assert_eq!(began, 12);
}

#[test]
fn alone_they_may_have_all_but_those_places_and_as_quick_ones_all() {
    for (took, expected) in [(200, 16), (3_000, 12)] {
        let mut lanes = lanes(16);
        accept_for_all(&mut lanes, 0);
        let jobs: Vec<_> = std::iter::from_fn(|| lanes.next(at_millis(0))).collect();
        assert_eq!(jobs.len(), usize::from(SLOWS) + 1);
        for job in jobs {
            settle(&mut lanes, job.id, 200, at_millis(took));
        }
        for millis in 1..4 {
            accept_for_all(&mut lanes, millis);
        }
        let started = std::iter::from_fn(|| lanes.next(at_millis(took))).count();
        assert_eq!(started, expected, "after answers that took {took} ms");
    }
}

#[test]
fn who_becomes_quick_again_is_slow_no_more() {
    let mut lanes = lanes(4);
    let mut now = 0;
    for (took, is_slow) in [(10, false), (3_000, true), (10, true), (10, true), (10, true), (10, true), (10, false)] {
        let pending = accept(&mut lanes, i64::try_from(now).unwrap());
        assert_eq!(lanes.next(at_millis(now)).map(|job| job.id), Some(pending.id));
        now += took;
        settle(&mut lanes, pending.id, 200, at_millis(now));
        assert_eq!(lanes.lanes[&webhook(0)].is_slow(), is_slow, "at {now} ms");
    }
}

#[test]
fn who_waits_for_a_name_server_holds_no_place_of_theirs() {
    let mut lanes = lanes(16);
    accept_for_all(&mut lanes, 0);
    let jobs: Vec<_> = std::iter::from_fn(|| lanes.next(at_millis(0))).collect();
    for job in &jobs {
        assert!(lanes.lend(job.id));
    }
    accept_for_all(&mut lanes, 1);
    assert_eq!(lanes.next(at_millis(2_000)), None, "each has lent its place");
    assert!(!lanes.slow_is_full());
    for job in &jobs {
        assert!(lanes.take_back(job.id));
    }
    let (slow, _) = round(&mut lanes, at_millis(4_000));
    assert_eq!((slow, lanes.slow_is_full()), (1, true), "eleven came back, and three quarters are twelve");
    for job in jobs {
        settle(&mut lanes, job.id, 200, at_millis(4_000));
    }
    assert!(!lanes.slow_is_full());
}
