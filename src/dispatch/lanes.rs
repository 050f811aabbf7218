//! What is due next: a lane per webhook, and fair turns among them. Pure.
//!
//! Holds every pending delivery of every webhook in memory, in two forms: fresh ones, which were
//! never tried, in order of acceptance and in 40 bytes each, and waiting ones by due time. It
//! sends nothing and writes nothing, and `now` is an argument.
//!
//! Invariants: a delivery is in at most one place (fresh, waiting, in flight); a lane never has
//! more in flight than its limit allows; lanes in trouble share a bounded part of all places, so
//! that the healthy ones always find room.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::domain::attempt::{Outcome, Trigger};
use crate::domain::delivery::Delivery;
use crate::domain::event::Location;
use crate::domain::health::{Health, Sign};
use crate::domain::id::{DeliveryId, EventId, WebhookId};
use crate::domain::retry::RetryPlan;
use crate::domain::time::Timestamp;
use crate::index::Pending;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For records and due times that outlive the process.
    pub wall: Timestamp,
    /// For waiting: never steps.
    pub elapsed: Duration,
}

/// What a lane must know of its webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanePolicy {
    /// Sends at all: active, not paused, not deleted.
    pub open: bool,
    /// The most exchanges under way.
    pub in_flight_max: u16,
    /// The version the policy is of.
    pub version: u32,
}

impl LanePolicy {
    /// Of a webhook that is not known: its deliveries wait until it is.
    const CLOSED: Self = Self { open: false, in_flight_max: 1, version: 0 };
}

/// Why a delivery that is due is not being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The webhook is paused or inactive.
    Paused,
    /// The webhook has as much in flight as it may.
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

/// A delivery that was never tried.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    location: Location,
    id: DeliveryId,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    location: Location,
    delivery: Delivery,
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    job: Job,
    resend_requested: bool,
    cancelled: bool,
    limited: bool,
}

/// Entries of a delivery that an operator changed: only those of the newest generation count.
#[derive(Clone, Copy, Debug, Default)]
struct Superseded {
    generation: u32,
    /// Older entries that still lie in a queue.
    stale: u32,
    /// No entry counts any more.
    cancelled: bool,
}

#[derive(Debug)]
struct Lane {
    policy: LanePolicy,
    health: Health,
    in_flight: u16,
    fresh: VecDeque<Fresh>,
    /// By due time in milliseconds of the monotonic clock.
    waiting: BTreeMap<(u64, DeliveryId, u32), Waiting>,
    /// Whose turn it is when both have something.
    waiting_turn: bool,
    in_ring: bool,
    /// Pending deliveries, those in flight among them.
    pending: u64,
}

impl Lane {
    fn new(policy: LanePolicy) -> Self {
        Self {
            policy,
            health: Health::default(),
            in_flight: 0,
            fresh: VecDeque::new(),
            waiting: BTreeMap::new(),
            waiting_turn: false,
            in_ring: false,
            pending: 0,
        }
    }

    /// When something could start, by due times and health alone; `None` when nothing waits.
    fn next_due(&self) -> Option<Duration> {
        let due =
            if self.fresh.is_empty() { Duration::from_millis(self.waiting.keys().next()?.0) } else { Duration::ZERO };
        Some(due.max(self.health.next_start()))
    }

    fn has_room(&self) -> bool {
        self.policy.open && self.in_flight < self.health.in_flight_max(self.policy.in_flight_max)
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
    superseded: HashMap<DeliveryId, Superseded>,
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
            superseded: HashMap::new(),
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
        let lane = self.lanes.entry(webhook).or_insert_with(|| Lane::new(policy));
        if lane.policy != policy {
            if lane.policy.version != policy.version {
                lane.health.forgive();
            }
            lane.policy = policy;
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
        if empty && let Some(mut lane) = self.lanes.remove(&webhook) {
            for fresh in lane.fresh.drain(..) {
                drop_stale(&mut self.superseded, fresh.id);
            }
            for (_, id, _) in lane.waiting.into_keys() {
                drop_stale(&mut self.superseded, id);
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
            lane.fresh.push_back(Fresh { location, id: DeliveryId { event, ordinal } });
            self.offer(*webhook);
        }
    }

    /// Adds a delivery that was pending at the start.
    pub fn restore(&mut self, pending: &Pending, now: Now) {
        let Some(due) = pending.delivery.due_at() else { return };
        // Already known: an operator changed it before everything was restored.
        if self.in_flight.contains_key(&pending.id) || self.superseded.contains_key(&pending.id) {
            return;
        }
        let lane = self.lane(pending.webhook);
        lane.pending += 1;
        if pending.delivery == Delivery::accepted(pending.id.event.created_at()) {
            lane.fresh.push_back(Fresh { location: pending.location, id: pending.id });
        } else {
            let due = now.elapsed + due.since(now.wall).min(DUE_AHEAD_MAX);
            let waiting = Waiting { location: pending.location, delivery: pending.delivery, generation: 0 };
            lane.waiting.insert((millis(due), pending.id, 0), waiting);
        }
        self.offer(pending.webhook);
    }

    /// The next delivery to attempt, or `None` when nothing can start now.
    pub fn next(&mut self, now: Now) -> Option<Job> {
        while let Some(&(due, webhook)) = self.timers.first()
            && due <= millis(now.elapsed)
        {
            self.timers.pop_first();
            self.offer(webhook);
        }
        for _ in 0..self.ring.len() {
            if self.in_flight.len() >= self.in_flight_max {
                return None;
            }
            let webhook = self.ring.pop_front()?;
            let limited_full = self.limited_in_flight >= (self.in_flight_max / 4).max(1);
            let Some(lane) = self.lanes.get_mut(&webhook) else { continue };
            if lane.health.is_limited() && limited_full {
                // Stays in the ring: it gets its turn when another lane in trouble is done.
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
            let (id, location, delivery, generation) = take(lane, now)?;
            // Never two at once of one delivery, whatever happened to its entries.
            if !claim(&mut self.superseded, id, generation) || self.in_flight.contains_key(&id) {
                continue;
            }
            let job = Job { id, webhook, location, delivery };
            let limited = lane.health.is_limited();
            lane.health.started(now.elapsed);
            lane.in_flight += 1;
            self.limited_in_flight += usize::from(limited);
            self.in_flight.insert(id, InFlight { job, resend_requested: false, cancelled: false, limited });
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
        self.limited_in_flight = self.limited_in_flight.saturating_sub(usize::from(was.limited));
        self.note_settled(id);
        let lane = self.lane(was.job.webhook);
        lane.in_flight = lane.in_flight.saturating_sub(1);
        lane.health.ended(sign_of(outcome), settled.gave_up, now.elapsed);
        match settled.delivery.due_at() {
            Some(due) => self.wait(&was.job, settled.delivery, due, now),
            None => lane.pending = lane.pending.saturating_sub(1),
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
        let generation = self.supersede(known.id, was_pending, false);
        let lane = self.lane(known.webhook);
        if !was_pending {
            lane.pending += 1;
        }
        lane.health.forgive();
        let waiting = Waiting { location: known.location, delivery, generation };
        lane.waiting.insert((millis(now.elapsed), known.id, generation), waiting);
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
        self.supersede(known.id, true, true);
        let lane = self.lane(known.webhook);
        lane.pending = lane.pending.saturating_sub(1);
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

    /// Why a delivery of this webhook that is due would have to wait.
    #[must_use]
    pub fn hold(&self, webhook: WebhookId) -> Option<Hold> {
        let lane = self.lanes.get(&webhook)?;
        if !lane.policy.open {
            Some(Hold::Paused)
        } else if lane.health.is_limited() {
            Some(Hold::CoolingDown)
        } else if !lane.has_room() || self.in_flight.len() >= self.in_flight_max {
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
        self.lanes.entry(webhook).or_insert_with(|| Lane::new(LanePolicy::CLOSED))
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
        let generation = self.generation(job.id);
        let due = now.elapsed + due.since(now.wall);
        let waiting = Waiting { location: job.location, delivery, generation };
        self.lane(job.webhook).waiting.insert((millis(due), job.id, generation), waiting);
    }

    fn generation(&self, id: DeliveryId) -> u32 {
        self.superseded.get(&id).map_or(0, |known| known.generation)
    }

    /// Whatever entries lie in a queue no longer count; gives the generation of the one that will.
    fn supersede(&mut self, id: DeliveryId, entry_waits: bool, cancelled: bool) -> u32 {
        if !entry_waits && !self.superseded.contains_key(&id) {
            return 0;
        }
        let known = self.superseded.entry(id).or_default();
        known.generation += 1;
        known.stale += u32::from(entry_waits);
        known.cancelled = cancelled;
        known.generation
    }

    /// Puts a delivery that could not be attempted back, to be tried again after `pause`.
    pub fn release(&mut self, id: DeliveryId, pause: Duration, now: Now) {
        let Some(was) = self.in_flight.remove(&id) else { return };
        self.limited_in_flight = self.limited_in_flight.saturating_sub(usize::from(was.limited));
        let lane = self.lane(was.job.webhook);
        lane.in_flight = lane.in_flight.saturating_sub(1);
        if was.cancelled {
            lane.pending = lane.pending.saturating_sub(1);
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

/// Takes the next entry of a lane: fresh and due ones in turn, so that neither a flood of new
/// events nor a mass of retries keeps the other waiting.
fn take(lane: &mut Lane, now: Now) -> Option<(DeliveryId, Location, Delivery, u32)> {
    let due = lane.waiting.first_key_value().is_some_and(|((due, ..), _)| *due <= millis(now.elapsed));
    if due && (lane.waiting_turn || lane.fresh.is_empty()) {
        lane.waiting_turn = false;
        let ((_, id, _), waiting) = lane.waiting.pop_first()?;
        return Some((id, waiting.location, waiting.delivery, waiting.generation));
    }
    lane.waiting_turn = true;
    let fresh = lane.fresh.pop_front()?;
    if lane.fresh.len() * 4 < lane.fresh.capacity() && lane.fresh.capacity() > 1024 {
        lane.fresh.shrink_to(lane.fresh.len() * 2);
    }
    Some((fresh.id, fresh.location, Delivery::accepted(fresh.id.event.created_at()), 0))
}

/// Whether an entry taken from a queue still counts.
fn claim(superseded: &mut HashMap<DeliveryId, Superseded>, id: DeliveryId, generation: u32) -> bool {
    let Some(known) = superseded.get_mut(&id) else { return true };
    if known.generation == generation && !known.cancelled {
        if known.stale == 0 {
            superseded.remove(&id);
        }
        return true;
    }
    drop_stale(superseded, id);
    false
}

/// A stale entry has left its queue.
fn drop_stale(superseded: &mut HashMap<DeliveryId, Superseded>, id: DeliveryId) {
    if let Some(known) = superseded.get_mut(&id) {
        known.stale = known.stale.saturating_sub(1);
        if known.stale == 0 && known.cancelled {
            superseded.remove(&id);
        }
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
