//! Lanes whose receivers take long to answer.
//!
//! An attempt holds its place until its receiver has answered, so a hundred receivers that take seconds would soon hold all places
//! there are, and those that answer at once would wait for them. So slow lanes leave a part of all places to the quick ones.
//! Nobody says what is slow: it is what was lately, what is under way for as long, and what is not known yet. Invariant: with lanes in trouble
//! counted as well, slow lanes begin nothing while they hold all but that part.

use std::time::Duration;

use super::lent::Seat;
use super::{InFlight, Lane, Lanes};
use crate::domain::time::Now;

/// Receivers that take longer are slow.
const SLOW: Duration = Duration::from_millis(250);
/// Of a lane of which nothing has ended yet: slow, until it is known.
pub(super) const UNKNOWN: Duration = Duration::from_millis(251);
/// How often what is under way is looked through.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// One in so many places is left to quick lanes.
const LEFT: usize = 4;

/// What slow lanes hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slow {
    /// Places.
    pub(super) in_flight: usize,
    /// When it was last looked for attempts that take long.
    looked_at: Duration,
}

impl Lane {
    pub(super) fn is_slow(&self) -> bool {
        self.pace > SLOW
    }

    /// Takes an attempt into account that took so long; the last four count most.
    pub(super) fn took(&mut self, time: Duration) {
        self.pace = (self.pace * 3 + time) / 4;
    }
}

impl Lanes {
    /// Whether slow lanes, with those in trouble, hold all places that they may.
    pub(super) fn slow_is_full(&self) -> bool {
        let most = self.in_flight_max - self.in_flight_max / LEFT;
        self.slow.in_flight + self.limited_in_flight >= most
    }

    /// Finds lanes that are slow, although nothing of theirs has ended yet.
    pub(super) fn look_for_slow(&mut self, now: Now) {
        if now.elapsed.saturating_sub(self.slow.looked_at) < LOOK_EVERY {
            return;
        }
        self.slow.looked_at = now.elapsed;
        for flying in self.in_flight.values_mut() {
            let age = now.elapsed.saturating_sub(flying.started);
            if flying.slow || flying.seat != Seat::Taken || age <= SLOW {
                continue;
            }
            flying.slow = true;
            self.slow.in_flight += 1;
            if let Some(lane) = self.lanes.get_mut(&flying.job.webhook) {
                lane.pace = lane.pace.max(age);
            }
        }
    }

    /// An attempt got a place, or lost it.
    pub(super) fn seat_slow(&mut self, flying: &InFlight, seated: bool) {
        let one = usize::from(flying.slow);
        self.slow.in_flight = if seated { self.slow.in_flight + one } else { self.slow.in_flight.saturating_sub(one) };
    }
}
