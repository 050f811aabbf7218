//! Lanes against a model that knows every delivery and looks through all of them each time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::{OPEN, ORDERED, START, at, delivery_id, failed, location, settle, webhook};
use crate::domain::delivery::State;

/// A delivery as the model has it.
#[derive(Clone, Debug)]
struct Known {
    webhook: WebhookId,
    delivery: Delivery,
    due: Duration,
    flying: bool,
    cancelled: bool,
    resend: bool,
}

struct Model {
    lanes: Lanes,
    in_flight_max: usize,
    now: Duration,
    restored: bool,
    /// Pending at the start, and not given to the lanes yet.
    to_restore: Vec<Pending>,
    policies: BTreeMap<WebhookId, LanePolicy>,
    known: BTreeMap<DeliveryId, Known>,
    /// Starts since the webhook's rate was changed.
    starts: BTreeMap<WebhookId, Vec<Duration>>,
    attempted: BTreeSet<DeliveryId>,
}

const WEBHOOKS: u8 = 3;

impl Model {
    fn new(to_restore: &[(u8, u8)], in_flight_max: usize) -> Self {
        let mut model = Self {
            lanes: Lanes::new(in_flight_max),
            in_flight_max,
            now: Duration::ZERO,
            restored: false,
            to_restore: Vec::new(),
            policies: BTreeMap::new(),
            known: BTreeMap::new(),
            starts: BTreeMap::new(),
            attempted: BTreeSet::new(),
        };
        for (millis, (number, state)) in (-100_i64..).zip(to_restore) {
            let id = delivery_id(millis, u16::from(*number % WEBHOOKS));
            let failures = u32::from(*state % 3);
            let mut delivery = failed(id, failures, START.minus(Duration::from_secs(u64::from(*state % 7))));
            if *state > 128 {
                delivery = delivery.cancel().unwrap().resend(START);
            } else if *state > 100 {
                delivery = delivery.resend(START);
            }
            let webhook = webhook(*number % WEBHOOKS);
            // In an order of no meaning.
            let place = usize::from(*state) % (model.to_restore.len() + 1);
            model.to_restore.insert(place, Pending { id, webhook, location: location(id), delivery });
        }
        for number in 0..WEBHOOKS {
            model.set_policy(webhook(number), if number == 0 { ORDERED } else { OPEN });
        }
        model
    }

    fn set_policy(&mut self, webhook: WebhookId, policy: LanePolicy) {
        let before = self.policies.insert(webhook, policy);
        if before.is_none_or(|before| before.rate_per_second != policy.rate_per_second) {
            self.starts.remove(&webhook);
        }
        self.lanes.set_policy(webhook, policy);
    }

    fn accept(&mut self) {
        let millis = i64::try_from(self.now.as_millis()).unwrap();
        let last = self.known.keys().next_back().map(|id| id.event.created_at());
        let event = (millis..).map(|millis| delivery_id(millis, 0).event);
        let event = event.into_iter().find(|event| last.is_none_or(|last| event.created_at() > last)).unwrap();
        let webhooks: Vec<WebhookId> = (0..WEBHOOKS).map(webhook).collect();
        self.lanes.accept(event, location(DeliveryId { event, ordinal: 0 }), &webhooks);
        for (ordinal, webhook) in (0..).zip(webhooks) {
            self.add(DeliveryId { event, ordinal }, webhook, Delivery::accepted(event.created_at()), Duration::ZERO);
        }
    }

    fn add(&mut self, id: DeliveryId, webhook: WebhookId, delivery: Delivery, due: Duration) {
        let known = Known { webhook, delivery, due, flying: false, cancelled: false, resend: false };
        assert!(self.known.insert(id, known).is_none());
    }

    fn restore(&mut self) {
        let now = at(self.now);
        for pending in std::mem::take(&mut self.to_restore) {
            self.lanes.restore(&pending, now);
            let due = self.now + pending.delivery.due_at().unwrap().since(now.wall);
            self.add(pending.id, pending.webhook, pending.delivery, due);
        }
        self.lanes.restored();
        self.restored = true;
    }

    fn pick(&self, chosen: u16, flying: bool) -> Option<DeliveryId> {
        let ids: Vec<DeliveryId> =
            self.known.iter().filter(|(_, known)| known.flying || !flying).map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| ids[usize::from(chosen) % ids.len()])
    }

    fn pending(&self, id: DeliveryId) -> Pending {
        let known = &self.known[&id];
        let mut place = location(id);
        place.offset = if id.event.created_at() < START { place.offset } else { 0 };
        Pending { id, webhook: known.webhook, location: place, delivery: known.delivery }
    }

    fn settle(&mut self, id: DeliveryId, code: u16) {
        let now = at(self.now);
        let delivery = settle(&mut self.lanes, id, code, now);
        let known = self.known.get_mut(&id).unwrap();
        assert!(known.resend || known.cancelled || delivery.attempts_made() == known.delivery.attempts_made() + 1);
        (known.flying, known.cancelled, known.resend, known.delivery) = (false, false, false, delivery);
        known.due = self.now + delivery.due_at().map_or(Duration::ZERO, |due| due.since(now.wall));
    }

    fn release(&mut self, id: DeliveryId) {
        let (now, pause) = (at(self.now), Duration::from_secs(1));
        self.lanes.release(id, pause, now);
        let known = self.known.get_mut(&id).unwrap();
        if known.cancelled {
            known.delivery = known.delivery.cancel().unwrap();
        } else if known.resend {
            known.delivery = known.delivery.resend(now.wall);
        }
        (known.flying, known.cancelled, known.resend, known.due) = (false, false, false, self.now + pause);
    }

    fn resend(&mut self, id: DeliveryId) {
        let delivery = self.lanes.resend(&self.pending(id), at(self.now));
        let known = self.known.get_mut(&id).unwrap();
        if known.flying {
            (known.resend, known.cancelled) = (true, false);
        } else if known.delivery != delivery {
            (known.delivery, known.due) = (delivery, self.now);
        }
    }

    fn cancel(&mut self, id: DeliveryId) {
        let cancelled = self.lanes.cancel(&self.pending(id));
        let known = self.known.get_mut(&id).unwrap();
        assert_eq!(cancelled, known.delivery.cancel());
        if known.flying {
            (known.resend, known.cancelled) = (false, true);
        } else if let Some(cancelled) = cancelled {
            known.delivery = cancelled;
        }
    }

    fn flying(&self, webhook: WebhookId) -> usize {
        self.known.values().filter(|known| known.webhook == webhook && known.flying).count()
    }

    /// What is to be sent by itself and comes first.
    fn head(&self, webhook: WebhookId) -> Option<DeliveryId> {
        let automatic = |known: &Known| known.webhook == webhook && known.delivery.automatic_due().is_some();
        self.known.iter().find(|(_, known)| automatic(known)).map(|(id, _)| *id)
    }

    /// Starts what can be, and holds each against the rules.
    fn start_all(&mut self) {
        while let Some(job) = self.lanes.next(at(self.now)) {
            let policy = self.policies[&job.webhook];
            let flying = self.flying(job.webhook);
            assert!(policy.open && flying < usize::from(policy.in_flight_max));
            assert!(self.known.values().filter(|known| known.flying).count() < self.in_flight_max);
            if policy.ordered {
                assert!(self.restored && flying == 0);
                let automatic = job.delivery.automatic_due().is_some();
                assert!(!automatic || self.head(job.webhook) == Some(job.id), "{} overtook another", job.id);
            }
            assert_eq!((job.location, job.delivery), (self.pending(job.id).location, self.pending(job.id).delivery));
            let lane = &self.lanes.lanes[&job.webhook];
            // It is among them by now.
            let before = self.lanes.slow.in_flight - usize::from(lane.is_slow()) + self.lanes.limited_in_flight
                - usize::from(self.lanes.in_flight[&job.id].limited);
            assert!(!lane.is_slow() || before < self.in_flight_max - self.in_flight_max / 4, "slow ones leave room");
            let known = self.known.get_mut(&job.id).unwrap();
            assert!(!known.flying && known.due <= self.now && known.delivery.due_at().is_some());
            known.flying = true;
            self.attempted.insert(job.id);
            let starts = self.starts.entry(job.webhook).or_default();
            starts.push(self.now);
            if let Some(rate) = policy.rate_per_second {
                let within = starts.iter().filter(|start| **start + Duration::from_secs(1) > self.now).count();
                assert!(within <= (rate + Rate::burst(rate)) as usize, "{within} at {rate} per second");
            }
        }
        self.check_wake();
    }

    /// Nothing that may start is left, and the wake-up is not later than what may start next.
    fn check_wake(&self) {
        if self.lanes.in_flight() >= self.in_flight_max {
            return;
        }
        for (id, policy) in &self.policies {
            let lane = &self.lanes.lanes[id];
            let most = if policy.ordered { 1 } else { policy.in_flight_max };
            let closed = !policy.open || (policy.ordered && !self.restored);
            let limited_full = self.lanes.limited_in_flight >= (self.in_flight_max / 4).max(1);
            if closed
                || self.flying(*id) >= usize::from(lane.health.in_flight_max(most))
                || (lane.health.is_limited() && limited_full)
                || (lane.is_slow() && self.lanes.slow_is_full())
            {
                continue;
            }
            let head = self.head(*id);
            let may = |one: &DeliveryId, known: &Known| {
                let in_turn = !policy.ordered || known.delivery.automatic_due().is_none() || head == Some(*one);
                known.webhook == *id && !known.flying && known.delivery.due_at().is_some() && in_turn
            };
            let due = self.known.iter().filter(|(one, known)| may(one, known)).map(|(_, known)| known.due).min();
            let Some(due) = due else { continue };
            let due = due.max(lane.health.next_start()).max(lane.rate.next_start());
            // Timers are of whole milliseconds: something may start up to one late.
            let timer = self.lanes.timers.iter().find(|(_, of)| of == id);
            let wake = Duration::from_millis(timer.expect("what may start has a timer").0);
            assert!(wake > self.now && wake <= due + Duration::from_millis(1), "{wake:?}, due at {due:?}");
            assert!(self.lanes.next_wake().is_some_and(|first| first <= wake));
        }
    }

    fn check_counts(&self) {
        let seated = self.lanes.in_flight.values().filter(|flying| flying.seat == Seat::Taken);
        assert_eq!(self.lanes.slow.in_flight, seated.filter(|flying| flying.slow).count());
        for number in 0..WEBHOOKS {
            let pending = |known: &&Known| {
                known.webhook == webhook(number) && (known.delivery.due_at().is_some() || known.flying)
            };
            let status = self.lanes.status(webhook(number)).unwrap();
            assert_eq!(status.pending, self.known.values().filter(pending).count() as u64);
            assert_eq!(usize::from(status.in_flight), self.flying(webhook(number)));
        }
    }

    fn step(&mut self, action: u8, chosen: u16, more: u16) {
        const CODES: [u16; 8] = [200, 200, 200, 404, 404, 500, 503, 410];
        match action {
            0..=3 => self.accept(),
            4..=8 => {
                if let Some(id) = self.pick(chosen, true) {
                    self.settle(id, CODES[usize::from(more % 8)]);
                }
            }
            9 => {
                if let Some(id) = self.pick(chosen, true) {
                    self.release(id);
                }
            }
            10..=11 => {
                if let Some(id) = self.pick(chosen, false) {
                    self.resend(id);
                }
            }
            12..=13 => {
                if let Some(id) = self.pick(chosen, false) {
                    self.cancel(id);
                }
            }
            14 => {
                let policy = LanePolicy {
                    open: !more.is_multiple_of(5),
                    in_flight_max: 1 + more % 4,
                    ordered: more & 16 != 0,
                    rate_per_second: [None, Some(1), Some(4), Some(30)][usize::from(more >> 5) % 4],
                    version: 1 + u32::from(more & 1),
                };
                self.set_policy(webhook(u8::try_from(chosen % u16::from(WEBHOOKS)).unwrap()), policy);
            }
            15 if !self.restored => self.restore(),
            16..=17 => self.now = self.lanes.next_wake().map_or(self.now, |wake| wake.max(self.now)),
            _ => self.now += Duration::from_millis(u64::from(more % 3_000)),
        }
        self.check_counts();
    }

    /// All obstacles gone, everything comes to an end.
    fn finish(&mut self) {
        if !self.restored {
            self.restore();
        }
        for number in 0..WEBHOOKS {
            let policy = self.policies[&webhook(number)];
            self.set_policy(webhook(number), LanePolicy { open: true, ..policy });
        }
        for _ in 0..100_000 {
            self.start_all();
            while let Some(id) = self.pick(0, true) {
                self.settle(id, 200);
                self.start_all();
            }
            match self.lanes.next_wake() {
                Some(wake) => self.now = wake.max(self.now),
                None => break,
            }
        }
        self.check_counts();
        assert_eq!((self.lanes.pending(), self.lanes.in_flight(), self.lanes.next_wake()), (0, 0, None));
        for (id, known) in &self.known {
            assert!(known.delivery.due_at().is_none(), "{id} was lost");
            let withdrawn = known.delivery.state() == State::Cancelled;
            assert!(withdrawn || self.attempted.contains(id), "{id} was never attempted");
        }
        for number in 0..WEBHOOKS {
            assert!(self.lanes.remove_if_empty(webhook(number)));
        }
        assert!(self.lanes.superseded.is_empty(), "entries of nothing are remembered");
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold_and_nothing_is_lost(
        to_restore in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..12),
        scarce in any::<bool>(),
        steps in proptest::collection::vec((0_u8..20, any::<u16>(), any::<u16>(), 0_u8..4), 1..120),
    ) {
        let mut model = Model::new(&to_restore, if scarce { 4 } else { 64 });
        for (action, chosen, more, start) in steps {
            model.step(action, chosen, more);
            if start > 0 {
                model.start_all();
            }
        }
        model.finish();
    }
}
