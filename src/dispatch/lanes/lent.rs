//! Places that attempts lend to others while they wait for a name server.
//!
//! A lent place is counted neither among all nor among those of lanes in trouble, so names that do not resolve keep nobody
//! waiting. Invariants: at most [`LENT_MAX`] are lent; a lane with a lent place begins nothing; whoever wants a place back comes before whatever has not begun; and with
//! all of that, never more than the maximum have a place.

use super::{InFlight, Lanes};
use crate::domain::id::{DeliveryId, WebhookId};

/// Each costs some memory, and each name two sockets.
const LENT_MAX: usize = 2048;

/// Whether an attempt under way has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    Taken,
    Lent,
    /// Lent, and wanted back.
    Wanted,
}

/// How many attempts are without a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lent {
    away: usize,
    /// Those among them that want theirs back.
    wanted: usize,
}

impl Lanes {
    /// Whether another attempt may begin.
    pub(super) fn has_place(&self) -> bool {
        self.seated() + self.lent.wanted < self.in_flight_max
    }

    fn seated(&self) -> usize {
        self.in_flight.len().saturating_sub(self.lent.away)
    }

    /// Leaves the place of an attempt under way to others; tells whether it did.
    pub fn lend(&mut self, id: DeliveryId) -> bool {
        let Some(flying) = self.in_flight.get_mut(&id) else { return false };
        if flying.seat != Seat::Taken || self.lent.away >= LENT_MAX {
            return false;
        }
        flying.seat = Seat::Lent;
        let flying = *flying;
        self.lent.away += 1;
        let webhook = flying.job.webhook;
        self.seat_slow(&flying, false);
        self.limited_in_flight = self.limited_in_flight.saturating_sub(usize::from(flying.limited));
        self.lane(webhook).lent += 1;
        true
    }

    /// Takes a place for an attempt that has lent its own; `false` when there is none yet.
    pub fn take_back(&mut self, id: DeliveryId) -> bool {
        let free = self.seated() < self.in_flight_max;
        let Some(flying) = self.in_flight.get_mut(&id) else { return true };
        match (flying.seat, free) {
            (Seat::Taken, _) => return true,
            (Seat::Wanted, false) => return false,
            (Seat::Lent, false) => {
                flying.seat = Seat::Wanted;
                self.lent.wanted += 1;
                return false;
            }
            (Seat::Wanted, true) => self.lent.wanted -= 1,
            (Seat::Lent, true) => {}
        }
        flying.seat = Seat::Taken;
        let flying = *flying;
        self.seat_slow(&flying, true);
        self.limited_in_flight += usize::from(flying.limited);
        let webhook = flying.job.webhook;
        self.came_back(webhook);
        self.offer(webhook);
        true
    }

    /// An attempt has ended, with its place or without.
    pub(super) fn leave(&mut self, was: &InFlight) {
        if was.seat == Seat::Taken {
            self.limited_in_flight = self.limited_in_flight.saturating_sub(usize::from(was.limited));
            self.seat_slow(was, false);
            return;
        }
        self.lent.wanted -= usize::from(was.seat == Seat::Wanted);
        self.came_back(was.job.webhook);
    }

    fn came_back(&mut self, webhook: WebhookId) {
        self.lent.away -= 1;
        let lane = self.lane(webhook);
        lane.lent = lane.lent.saturating_sub(1);
    }
}
