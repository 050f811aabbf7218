//! What is due next: a lane per webhook, and fair turns among them. Pure.
//!
//! Holds every pending delivery of every webhook in memory, in two forms: fresh ones, which were
//! never tried, in order of acceptance and in 40 bytes each, and waiting ones by due time, or by
//! their place in the line when the webhook is ordered (`queue`). It sends nothing and writes
//! nothing, and `now` is an argument.
//!
//! Invariants: a delivery is in at most one place (fresh, waiting, in flight); a lane never has
//! more in flight than its limit allows, nor starts more than its rate; of an ordered lane, one
//! delivery is under way and none overtakes another; lanes in trouble share a bounded part of all
//! places, and so do those whose receivers are slow, so that the others always find room.

mod backlog;
mod lent;
mod queue;
mod slow;
mod superseded;
mod survey;

pub use survey::Standing;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};

use super::rate::Rate;
use crate::domain::attempt::{Outcome, Trigger};
use crate::domain::delivery::Delivery;
use crate::domain::event::Location;
use crate::domain::health::{Health, Sign};
use crate::domain::id::{DeliveryId, EventId, WebhookId};
use crate::domain::retry::RetryPlan;
use crate::domain::time::{Now, Timestamp};
use crate::index::Pending;
use lent::{Lent, Seat};
use queue::{Fresh, Order, Queue, Waiting};
use slow::Slow;
use superseded::Superseded;

/// What a lane must know of its webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanePolicy {
    /// Sends at all: active, not paused, not deleted.
    pub open: bool,
    /// The most exchanges under way.
    pub in_flight_max: u16,
    /// One delivery after the other, in the order of their ids.
    pub ordered: bool,
    /// The most attempts that begin in a second.
    pub rate_per_second: Option<u32>,
    /// The version the policy is of.
    pub version: u32,
}

impl LanePolicy {
    /// Of a webhook that is not known: its deliveries wait until it is.
    pub(super) const CLOSED: Self =
        Self { open: false, in_flight_max: 1, ordered: false, rate_per_second: None, version: 0 };
}

/// Why a delivery that is due is not being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The webhook is paused or inactive.
    Paused,
    /// As many attempts began as may in a second.
    Rate,
    /// The webhook has as much in flight as it may; of an ordered webhook also: another delivery
    /// comes first.
    InFlight,
    /// The receiver is in trouble and is asked gently.
    CoolingDown,
}

impl Hold {
    /// The word that the outside world sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Rate => "rate",
            Self::InFlight => "in_flight",
            Self::CoolingDown => "cooling_down",
        }
    }
}

/// A delivery to attempt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The delivery.
    pub id: DeliveryId,
    /// Where it goes.
    pub webhook: WebhookId,
    /// Where its event lies.
    pub location: Location,
    /// How it stands before the attempt.
    pub delivery: Delivery,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    job: Job,
    resend_requested: bool,
    cancelled: bool,
    limited: bool,
    /// Counted as one of a slow lane.
    slow: bool,
    started: Duration,
    seat: Seat,
}

#[derive(Debug)]
struct Lane {
    policy: LanePolicy,
    health: Health,
    rate: Rate,
    in_flight: u16,
    /// Those of them that wait for a name server. Others would only ask the same.
    lent: u16,
    queue: Queue,
    in_ring: bool,
    /// How long attempts took lately.
    pace: Duration,
    /// Pending deliveries, those in flight among them.
    pending: u64,
}

impl Lane {
    /// A lane that is closed until its webhook is known.
    fn new() -> Self {
        Self {
            policy: LanePolicy::CLOSED,
            health: Health::default(),
            rate: Rate::default(),
            in_flight: 0,
            queue: Queue::default(),
            lent: 0,
            in_ring: false,
            pace: slow::UNKNOWN,
            pending: 0,
        }
    }

    /// When something could start, by due times, rate and health; `None` when nothing waits.
    fn next_due(&self) -> Option<Duration> {
        let due = Duration::from_millis(self.queue.next_due()?);
        Some(due.max(self.health.next_start()).max(self.rate.next_start()))
    }

    fn has_room(&self) -> bool {
        let own = if self.policy.ordered { 1 } else { self.policy.in_flight_max };
        let open = self.policy.open && self.queue.order() != Order::Awaited;
        open && self.lent == 0 && self.in_flight < self.health.in_flight_max(own)
    }
}

/// What is known of a lane, for status and screens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// Pending deliveries, those in flight among them.
    pub pending: u64,
    /// Exchanges under way.
    pub in_flight: u16,
    /// The receiver is in trouble and asked gently.
    pub cooling: bool,
    /// An operator should look.
    pub failing: bool,
    /// Failures since the last success.
    pub failures: u32,
}

/// What came of settling an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The delivery as it stands now.
    pub delivery: Delivery,
    /// Who had asked for the attempt.
    pub trigger: Trigger,
    /// The delivery became failed just now.
    pub gave_up: bool,
    /// The receiver said 410.
    pub pause_webhook: bool,
}

/// All lanes.
#[derive(Debug)]
pub struct Lanes {
    lanes: HashMap<WebhookId, Lane>,
    /// Lanes that may have something to start, in turn.
    ring: VecDeque<WebhookId>,
    /// Lanes that will have something to start, by when (milliseconds).
    timers: BTreeSet<(u64, WebhookId)>,
    in_flight: HashMap<DeliveryId, InFlight>,
    limited_in_flight: usize,
    in_flight_max: usize,
    slow: Slow,
    lent: Lent,
    superseded: Superseded,
    /// What was pending at the start has come: the order of everything is known.
    restored: bool,
    /// Deliveries settled lately, with a count: those who read the index meanwhile must look again.
    settled: VecDeque<(u64, DeliveryId)>,
    settled_count: u64,
}

/// How many settled deliveries are remembered.
const SETTLED_MAX: usize = 4096;

/// The longest a stored due time may lie ahead: a retry waits at most a day and its jitter, so
/// anything beyond comes from a clock that has stepped.
const DUE_AHEAD_MAX: Duration = Duration::from_hours(27);

impl Lanes {
    /// Lanes that together have at most `in_flight_max` exchanges under way.
    #[must_use]
    pub fn new(in_flight_max: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            timers: BTreeSet::new(),
            in_flight: HashMap::new(),
            limited_in_flight: 0,
            in_flight_max: in_flight_max.max(1),
            slow: Slow::default(),
            lent: Lent::default(),
            superseded: Superseded::default(),
            restored: false,
            settled: VecDeque::new(),
            settled_count: 0,
        }
    }

    /// Changes how many exchanges may be under way in all.
    pub fn set_in_flight_max(&mut self, in_flight_max: usize) {
        self.in_flight_max = in_flight_max.max(1);
    }

    /// Sets what a lane must know of its webhook. A changed webhook is tried as if its receiver
    /// had never failed, because that is why it was changed.
    pub fn set_policy(&mut self, webhook: WebhookId, policy: LanePolicy) {
        let lane = self.lanes.entry(webhook).or_insert_with(Lane::new);
        if lane.policy != policy {
            if lane.policy.version != policy.version {
                lane.health.forgive();
            }
            if lane.policy.rate_per_second != policy.rate_per_second {
                lane.rate.set(policy.rate_per_second);
            }
            lane.policy = policy;
            lane.queue.set_order(order_of(policy, self.restored), &mut self.superseded);
        }
        self.offer(webhook);
    }

    /// Webhooks that have a lane.
    pub fn webhooks(&self) -> impl Iterator<Item = WebhookId> + '_ {
        self.lanes.keys().copied()
    }

    /// Forgets a lane that has nothing pending; tells whether it is gone.
    pub fn remove_if_empty(&mut self, webhook: WebhookId) -> bool {
        let empty = self.lanes.get(&webhook).is_none_or(|lane| lane.pending == 0);
        if empty && let Some(lane) = self.lanes.remove(&webhook) {
            for id in lane.queue.into_ids() {
                self.superseded.drop_stale(id);
            }
            self.timers.retain(|(_, of)| *of != webhook);
            self.ring.retain(|of| *of != webhook);
        }
        empty
    }

    /// Adds the deliveries of an event that was just accepted.
    pub fn accept(&mut self, event: EventId, location: Location, webhooks: &[WebhookId]) {
        for (ordinal, webhook) in (0..).zip(webhooks) {
            let lane = self.lane(*webhook);
            lane.pending += 1;
            lane.queue.push_fresh(Fresh { location, id: DeliveryId { event, ordinal } });
            self.offer(*webhook);
        }
    }

    /// Adds a delivery that was pending at the start.
    pub fn restore(&mut self, pending: &Pending, now: Now) {
        let Some(due) = pending.delivery.due_at() else { return };
        // Already known: an operator changed it before everything was restored.
        if self.in_flight.contains_key(&pending.id) || self.superseded.knows(pending.id) {
            return;
        }
        let lane = self.lane(pending.webhook);
        lane.pending += 1;
        if pending.delivery == Delivery::accepted(pending.id.event.created_at()) {
            lane.queue.push_fresh(Fresh { location: pending.location, id: pending.id });
        } else {
            let due = now.elapsed + due.since(now.wall).min(DUE_AHEAD_MAX);
            let waiting = Waiting { location: pending.location, delivery: pending.delivery, generation: 0 };
            lane.queue.insert(millis(due), pending.id, waiting);
        }
        self.offer(pending.webhook);
    }

    /// Everything that was pending at the start was given to [`Self::restore`]. Until then ordered
    /// webhooks send nothing: what was accepted meanwhile comes after it.
    pub fn restored(&mut self) {
        self.restored = true;
        let webhooks: Vec<WebhookId> = self.lanes.keys().copied().collect();
        for webhook in webhooks {
            if let Some(lane) = self.lanes.get_mut(&webhook) {
                lane.queue.set_order(order_of(lane.policy, true), &mut self.superseded);
            }
            self.offer(webhook);
        }
    }

    /// The next delivery to attempt, or `None` when nothing can start now.
    pub fn next(&mut self, now: Now) -> Option<Job> {
        while let Some(&(due, webhook)) = self.timers.first()
            && due <= millis(now.elapsed)
        {
            self.timers.pop_first();
            self.offer(webhook);
        }
        self.look_for_slow(now);
        for _ in 0..self.ring.len() {
            if !self.has_place() {
                return None;
            }
            let webhook = self.ring.pop_front()?;
            let limited_full = self.limited_in_flight >= (self.in_flight_max / 4).max(1);
            let slow_full = self.slow_is_full();
            let Some(lane) = self.lanes.get_mut(&webhook) else { continue };
            if (lane.health.is_limited() && limited_full) || (lane.is_slow() && slow_full) {
                // Stays in the ring: it gets its turn when another lane of its kind is done.
                self.ring.push_back(webhook);
                continue;
            }
            lane.in_ring = false;
            let job = self.start(webhook, now);
            self.offer(webhook);
            if job.is_some() {
                return job;
            }
        }
        None
    }

    /// When `next` may have something although nothing happens before; of the monotonic clock.
    #[must_use]
    pub fn next_wake(&self) -> Option<Duration> {
        self.timers.first().map(|(due, _)| Duration::from_millis(*due))
    }

    /// Takes the lane's next delivery, if its limits allow one now.
    fn start(&mut self, webhook: WebhookId, now: Now) -> Option<Job> {
        let lane = self.lanes.get_mut(&webhook)?;
        loop {
            if !lane.has_room() {
                return None;
            }
            let due = lane.next_due()?;
            if due > now.elapsed {
                // Rounded up: a timer that fires early would only be set again.
                self.timers.insert((millis(due) + 1, webhook));
                return None;
            }
            let (id, Waiting { location, delivery, generation }) = lane.queue.take(millis(now.elapsed))?;
            // Never two at once of one delivery, whatever happened to its entries.
            if !self.superseded.claim(id, generation) || self.in_flight.contains_key(&id) {
                continue;
            }
            let job = Job { id, webhook, location, delivery };
            let (limited, slow) = (lane.health.is_limited(), lane.is_slow());
            lane.health.started(now.elapsed);
            lane.rate.started(now.elapsed);
            lane.in_flight += 1;
            self.limited_in_flight += usize::from(limited);
            let started = now.elapsed;
            let (resend_requested, cancelled, seat) = (false, false, Seat::Taken);
            let flying = InFlight { job, resend_requested, cancelled, limited, slow, started, seat };
            self.seat_slow(&flying, true);
            self.in_flight.insert(id, flying);
            return Some(job);
        }
    }

    /// Records how an attempt ended and queues what follows from it.
    ///
    /// # Panics
    /// When the delivery is not in flight: something settled twice.
    pub fn settle(&mut self, id: DeliveryId, outcome: &Outcome, plan: &RetryPlan, unit: f64, now: Now) -> Settled {
        #[expect(clippy::expect_used, reason = "settling twice would send things twice; see Panics")]
        let was = self.in_flight.remove(&id).expect("a delivery that is settled is in flight");
        let trigger = was.job.delivery.trigger();
        let settled = if was.cancelled {
            let delivery = was.job.delivery.cancel().unwrap_or(was.job.delivery).record_after_cancel(outcome);
            Settled { delivery, trigger, gave_up: false, pause_webhook: outcome.result == Ok(410) }
        } else {
            let transition = was.job.delivery.record(outcome, plan, unit, now.wall);
            let mut delivery = transition.delivery;
            if was.resend_requested {
                delivery = delivery.resend(now.wall);
            }
            let gave_up = transition.gave_up && !was.resend_requested;
            Settled { delivery, trigger, gave_up, pause_webhook: transition.pause_webhook }
        };
        self.leave(&was);
        self.note_settled(id);
        let lane = self.lane(was.job.webhook);
        lane.in_flight = lane.in_flight.saturating_sub(1);
        lane.took(now.elapsed.saturating_sub(was.started));
        lane.health.ended(sign_of(outcome), settled.gave_up, now.elapsed);
        match settled.delivery.due_at() {
            Some(due) => self.wait(&was.job, settled.delivery, due, now),
            None => {
                lane.pending = lane.pending.saturating_sub(1);
                self.superseded.end(id);
            }
        }
        self.offer(was.job.webhook);
        settled
    }

    /// An operator asks for another go. `known` is how the index has it; the answer is how the
    /// delivery stands now, or `None` when the attempt under way will be followed by another.
    pub fn resend(&mut self, known: &Pending, now: Now) -> Delivery {
        self.note_settled(known.id);
        if let Some(flying) = self.in_flight.get_mut(&known.id) {
            flying.resend_requested = true;
            flying.cancelled = false;
            return flying.job.delivery.resend(now.wall);
        }
        let delivery = known.delivery.resend(now.wall);
        if delivery == known.delivery {
            // Waits already.
            return delivery;
        }
        let was_pending = known.delivery.due_at().is_some();
        let lies = was_pending && !self.lane(known.webhook).queue.remove(known.id);
        let generation = self.superseded.supersede(known.id, lies, false);
        let lane = self.lane(known.webhook);
        if !was_pending {
            lane.pending += 1;
        }
        lane.health.forgive();
        let waiting = Waiting { location: known.location, delivery, generation };
        lane.queue.insert(millis(now.elapsed), known.id, waiting);
        self.offer(known.webhook);
        delivery
    }

    /// An operator withdraws a delivery. The answer is how it stands now, or `None` when nothing
    /// was to be sent any more.
    pub fn cancel(&mut self, known: &Pending) -> Option<Delivery> {
        self.note_settled(known.id);
        if let Some(flying) = self.in_flight.get_mut(&known.id) {
            flying.cancelled = true;
            flying.resend_requested = false;
            return flying.job.delivery.cancel();
        }
        let delivery = known.delivery.cancel()?;
        let lies = !self.lane(known.webhook).queue.remove(known.id);
        self.superseded.supersede(known.id, lies, true);
        let lane = self.lane(known.webhook);
        lane.pending = lane.pending.saturating_sub(1);
        // Of an ordered webhook the next one's turn may have come.
        self.offer(known.webhook);
        Some(delivery)
    }

    /// How many deliveries were settled or changed so far, to pass to [`Self::settled_since`].
    #[must_use]
    pub const fn settled_count(&self) -> u64 {
        self.settled_count
    }

    /// Whether the delivery may have been settled or changed since the count was taken: whoever
    /// looked it up meanwhile has to look again.
    #[must_use]
    pub fn settled_since(&self, id: DeliveryId, count: u64) -> bool {
        let forgotten = self.settled.front().is_some_and(|(oldest, _)| *oldest > count + 1);
        (forgotten && self.settled_count > count)
            || self.settled.iter().rev().take_while(|(at, _)| *at > count).any(|(_, settled)| *settled == id)
    }

    /// Why a delivery of this webhook that is due would have to wait. Those that stand behind
    /// another in an ordered webhook say `InFlight` all the while, also when that one waits for
    /// its retry and nothing is under way.
    #[must_use]
    pub fn hold(&self, id: DeliveryId, webhook: WebhookId, delivery: &Delivery, now: Now) -> Option<Hold> {
        let lane = self.lanes.get(&webhook)?;
        let behind = delivery.automatic_due().is_some() && lane.queue.is_behind(id);
        if !lane.policy.open {
            Some(Hold::Paused)
        } else if lane.policy.ordered && (behind || lane.in_flight > 0) {
            Some(Hold::InFlight)
        } else if lane.health.is_limited() {
            Some(Hold::CoolingDown)
        } else if lane.rate.next_start() > now.elapsed {
            Some(Hold::Rate)
        } else if !lane.has_room() || !self.has_place() || (lane.is_slow() && self.slow_is_full()) {
            Some(Hold::InFlight)
        } else {
            None
        }
    }

    /// Whether the delivery is being attempted now.
    #[must_use]
    pub fn is_in_flight(&self, id: DeliveryId) -> bool {
        self.in_flight.contains_key(&id)
    }

    /// How a lane is doing.
    #[must_use]
    pub fn status(&self, webhook: WebhookId) -> Option<LaneStatus> {
        self.lanes.get(&webhook).map(|lane| LaneStatus {
            pending: lane.pending,
            in_flight: lane.in_flight,
            cooling: lane.health.is_cooling(),
            failing: lane.health.is_failing(),
            failures: lane.health.failures(),
        })
    }

    /// Pending deliveries of all lanes.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.lanes.values().map(|lane| lane.pending).sum()
    }

    /// Exchanges under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn lane(&mut self, webhook: WebhookId) -> &mut Lane {
        self.lanes.entry(webhook).or_insert_with(Lane::new)
    }

    /// Puts a lane into the ring when it might start something.
    fn offer(&mut self, webhook: WebhookId) {
        if let Some(lane) = self.lanes.get_mut(&webhook)
            && !lane.in_ring
            && lane.has_room()
            && let Some(due) = lane.next_due()
        {
            // What is not due yet is a timer's matter; `start` sets it.
            lane.in_ring = !self.timers.contains(&(millis(due) + 1, webhook));
            if lane.in_ring {
                self.ring.push_back(webhook);
            }
        }
    }

    fn wait(&mut self, job: &Job, delivery: Delivery, due: Timestamp, now: Now) {
        let generation = self.superseded.generation(job.id);
        let due = now.elapsed + due.since(now.wall);
        let waiting = Waiting { location: job.location, delivery, generation };
        self.lane(job.webhook).queue.insert(millis(due), job.id, waiting);
    }

    /// Puts a delivery that could not be attempted back, to be tried again after `pause`.
    pub fn release(&mut self, id: DeliveryId, pause: Duration, now: Now) {
        let Some(was) = self.in_flight.remove(&id) else { return };
        self.leave(&was);
        let lane = self.lane(was.job.webhook);
        lane.in_flight = lane.in_flight.saturating_sub(1);
        if was.cancelled {
            lane.pending = lane.pending.saturating_sub(1);
            self.superseded.end(id);
        } else {
            let mut delivery = was.job.delivery;
            if was.resend_requested {
                delivery = delivery.resend(now.wall);
            }
            self.wait(&was.job, delivery, now.wall.plus(pause), now);
        }
        self.offer(was.job.webhook);
    }

    fn note_settled(&mut self, id: DeliveryId) {
        self.settled_count += 1;
        self.settled.push_back((self.settled_count, id));
        if self.settled.len() > SETTLED_MAX {
            self.settled.pop_front();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The order a lane has to keep.
const fn order_of(policy: LanePolicy, restored: bool) -> Order {
    match (policy.ordered, restored) {
        (false, _) => Order::Free,
        (true, false) => Order::Awaited,
        (true, true) => Order::Kept,
    }
}

fn sign_of(outcome: &Outcome) -> Sign {
    if outcome.is_success() {
        Sign::Well
    } else if outcome.is_receiver_trouble() {
        Sign::Trouble
    } else {
        Sign::Refused
    }
}

#[cfg(test)]
mod tests;
