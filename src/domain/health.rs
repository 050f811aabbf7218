//! How a receiver is doing, and what that allows: a pure reaction to how its attempts end.
//!
//! A receiver that fails again and again is asked gently, one request at a time and few a second,
//! so that it holds no places others need and is not trampled the moment it comes back. When it
//! answers again, the rate doubles every second until it no longer matters, as long as most of its answers are good. A receiver
//! that fails now and then has to be able to keep up as well, so how often it usually fails is learned, and trouble is a run of
//! failures that chance does not make of that.

use std::time::Duration;

/// How an attempt ended, as far as the receiver's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It took the event.
    Well,
    /// It answered, but refused this event.
    Refused,
    /// It did not answer, or said that it is in trouble.
    Trouble,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// In trouble.
    Cooling,
    /// Answering again: so many starts per second.
    Ramping {
        per_second: u32,
        /// Exchanges that ended in this second, and those of them that were troubles.
        ended: u32,
        troubles: u32,
    },
}

/// A receiver's health. Times are of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    phase: Phase,
    /// Troubles since anything else happened.
    troubles: u32,
    /// How many of its exchanges usually are troubles, of one; outages left out.
    usual: f64,
    /// Failures of any kind since the last success.
    failures: u32,
    /// A delivery was given up since the last success.
    gave_up: bool,
    second_began: Duration,
    started_in_second: u32,
    last_start: Option<Duration>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            phase: Phase::Open,
            troubles: 0,
            usual: 0.0,
            failures: 0,
            gave_up: false,
            second_began: Duration::ZERO,
            started_in_second: 0,
            last_start: None,
        }
    }
}

/// Troubles in a row after which a receiver is asked gently, of one that is well otherwise.
const TROUBLES_MAX: u32 = 5;
/// Of one that fails now and then: a run that chance makes less often than this.
const IMPROBABLE: f64 = 1e-6;
/// But never a longer one.
const TROUBLES_LONGEST: u32 = 20;
/// From here on it is in trouble, however usual that is.
const USUAL_MAX: f64 = 0.5;
/// What is usual is that of about so many exchanges.
const USUAL_OF: f64 = 64.0;
/// Between two starts while it is in trouble.
const COOLING_PAUSE: Duration = Duration::from_millis(110);
/// Starts in the first second of its return.
const RAMP_START: u32 = 10;
/// From this rate on there is no limit but the webhook's own.
const RAMP_END: u32 = 1280;
const SECOND: Duration = Duration::from_secs(1);

impl Health {
    /// In trouble: asked gently, and not yet answering.
    #[must_use]
    pub fn is_cooling(&self) -> bool {
        self.phase == Phase::Cooling
    }

    /// Held back more than the webhook's own limits say.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Whether an operator should look: it failed several times in a row, or something was given up.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.failures >= 3 || self.gave_up
    }

    /// Failures since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// How many exchanges may be under way, of the webhook's own limit.
    #[must_use]
    pub fn in_flight_max(&self, own: u16) -> u16 {
        match self.phase {
            Phase::Open => own,
            Phase::Cooling => 1,
            Phase::Ramping { per_second, .. } => own.min(u16::try_from(per_second / RAMP_START).unwrap_or(u16::MAX)),
        }
    }

    /// The earliest instant the next exchange may start.
    #[must_use]
    pub fn next_start(&self) -> Duration {
        match (self.phase, self.last_start) {
            (Phase::Open, _) | (_, None) => Duration::ZERO,
            (Phase::Cooling, Some(last)) => last + COOLING_PAUSE,
            (Phase::Ramping { per_second, .. }, Some(_)) if self.started_in_second >= per_second => {
                self.second_began + SECOND
            }
            (Phase::Ramping { .. }, Some(_)) => Duration::ZERO,
        }
    }

    /// An exchange starts.
    pub fn started(&mut self, now: Duration) {
        if let Phase::Ramping { per_second, ended, troubles } = self.phase
            && now >= self.second_began + SECOND
        {
            self.second_began = now;
            self.started_in_second = 0;
            let per_second = if ended == 0 {
                // Nothing is known of this second.
                per_second
            } else if troubles * 2 < ended {
                per_second * 2
            } else {
                per_second / 2
            };
            self.phase = match per_second {
                RAMP_END.. => Phase::Open,
                RAMP_START.. => Phase::Ramping { per_second, ended: 0, troubles: 0 },
                _ => Phase::Cooling,
            };
        }
        self.started_in_second += 1;
        self.last_start = Some(now);
    }

    /// Troubles in a row that are more than chance, with what is usual.
    fn troubles_max(&self) -> u32 {
        if self.usual >= USUAL_MAX {
            return TROUBLES_MAX;
        }
        let mut chance = 1.0;
        let run = (1..TROUBLES_LONGEST).find(|_| {
            chance *= self.usual;
            chance < IMPROBABLE
        });
        run.unwrap_or(TROUBLES_LONGEST).max(TROUBLES_MAX)
    }

    /// A run of troubles is over, and was no outage.
    fn learn(&mut self) {
        for _ in 0..self.troubles {
            self.usual += (1.0 - self.usual) / USUAL_OF;
        }
        self.usual -= self.usual / USUAL_OF;
    }

    /// An exchange ended.
    pub fn ended(&mut self, sign: Sign, gave_up: bool, now: Duration) {
        if sign != Sign::Trouble && self.phase != Phase::Cooling {
            self.learn();
        }
        match sign {
            Sign::Well => {
                self.troubles = 0;
                self.failures = 0;
                self.gave_up = false;
            }
            Sign::Refused => self.troubles = 0,
            Sign::Trouble => self.troubles = self.troubles.saturating_add(1),
        }
        if sign != Sign::Well {
            self.failures = self.failures.saturating_add(1);
            self.gave_up |= gave_up;
        }
        let troubles_max = self.troubles_max();
        match &mut self.phase {
            Phase::Open | Phase::Ramping { .. } if self.troubles >= troubles_max => self.phase = Phase::Cooling,
            Phase::Ramping { ended, troubles, .. } => {
                *ended += 1;
                *troubles += u32::from(sign == Sign::Trouble);
            }
            Phase::Cooling if sign != Sign::Trouble => {
                // The exchange that brought the good news belongs to the first second. That second is the
                // receiver's, which saw it some time between its start and its end: it begins with the end.
                self.phase = Phase::Ramping { per_second: RAMP_START, ended: 1, troubles: 0 };
                self.second_began = now;
                self.started_in_second = 1;
            }
            _ => {}
        }
    }

    /// An operator changed the webhook or asked for another go: try as if nothing had happened.
    pub fn forgive(&mut self) {
        self.phase = Phase::Open;
        self.troubles = 0;
        self.usual = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn cools_down_after_five_troubles_and_probes_gently() {
        let mut health = Health::default();
        for attempt in 0..5 {
            assert!(!health.is_cooling());
            health.started(at(attempt));
            health.ended(Sign::Trouble, false, at(attempt));
        }
        assert!(health.is_cooling() && health.is_failing());
        assert_eq!(health.in_flight_max(8), 1);
        assert_eq!(health.next_start(), at(114));
    }

    #[test]
    fn refusals_of_single_events_are_not_trouble() {
        let mut health = Health::default();
        for attempt in 0..50 {
            health.started(at(attempt));
            health.ended(Sign::Refused, true, at(attempt));
        }
        assert!(!health.is_limited() && health.is_failing());
        health.ended(Sign::Well, false, at(60));
        assert!(!health.is_failing());
    }

    /// Starts as soon as it may, against a receiver that came back; counts the starts per second.
    #[test]
    fn the_first_second_of_a_return_has_ten_starts_and_then_twice_as_many() {
        let mut health = Health::default();
        for attempt in 0..5 {
            health.started(at(attempt));
            health.ended(Sign::Trouble, false, at(attempt));
        }
        let mut starts = [0; 8];
        let mut widest = [0; 8];
        for millis in 1_000..9_000_u64 {
            let now = at(millis);
            let mut in_flight = 0;
            // Each exchange ends within its millisecond.
            while now >= health.next_start() && in_flight < health.in_flight_max(8) {
                in_flight += 1;
                health.started(now);
                let second = usize::try_from((millis - 1_000) / 1_000).unwrap();
                starts[second] += 1;
                widest[second] = widest[second].max(in_flight);
            }
            for _ in 0..in_flight {
                health.ended(Sign::Well, false, now);
            }
        }
        assert_eq!(starts[..4], [10, 20, 40, 80]);
        assert_eq!(widest[..4], [1, 2, 4, 8]);
        assert!(starts[7] >= 1280, "{starts:?}");
    }

    /// However long the exchange with the good news was on its way, the receiver's first second has ten.
    #[test]
    fn the_first_second_is_the_receivers() {
        for on_its_way in [0, 40, 500, 990] {
            let mut health = Health::default();
            for _ in 0..5 {
                health.started(at(0));
                health.ended(Sign::Trouble, false, at(0));
            }
            health.started(at(1_000));
            let first_seen = 1_000 + on_its_way;
            health.ended(Sign::Well, false, at(first_seen));
            let mut seen = 1;
            for millis in first_seen..first_seen + 1_000 {
                while at(millis) >= health.next_start() {
                    health.started(at(millis));
                    health.ended(Sign::Well, false, at(millis));
                    seen += 1;
                }
            }
            assert_eq!(seen, 10, "{on_its_way} ms");
        }
    }

    fn cooling() -> Health {
        let mut health = Health::default();
        for _ in 0..5 {
            health.started(at(0));
            health.ended(Sign::Trouble, false, at(0));
        }
        assert!(health.is_cooling());
        health
    }

    #[test]
    fn as_many_troubles_during_the_return_send_it_back() {
        let mut health = cooling();
        health.started(at(200));
        health.ended(Sign::Well, false, at(200));
        for attempt in 201..206 {
            assert!(health.is_limited() && !health.is_cooling());
            health.started(at(attempt));
            health.ended(Sign::Trouble, false, at(attempt));
        }
        assert!(health.is_cooling());
    }

    /// Starts in each of so many seconds, as many as may be and no more than 200, of a receiver that fails so many of a hundred at
    /// random and was in trouble before.
    fn starts_with(percent: u64, seconds: usize) -> Vec<u32> {
        let mut health = cooling();
        let (mut starts, mut chance) = (vec![0; seconds], 7_u64);
        for (second, started) in starts.iter_mut().enumerate() {
            for millis in (0..1_000).step_by(5) {
                let now = at(1_000 * (second as u64 + 1) + millis);
                if now >= health.next_start() {
                    *started += 1;
                    health.started(now);
                    chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let sign = if (chance >> 33) % 100 < percent { Sign::Trouble } else { Sign::Well };
                    health.ended(sign, false, now);
                }
            }
        }
        starts
    }

    #[test]
    fn who_fails_now_and_then_is_asked_as_often_as_anybody() {
        for (percent, wanted) in [(0, 198), (5, 198), (20, 195), (30, 190)] {
            let starts = starts_with(percent, 300);
            let later: u32 = starts[10..].iter().sum();
            assert!(later >= wanted * 290, "{percent} %: {} a second", later / 290);
        }
    }

    #[test]
    fn who_mostly_fails_is_asked_gently() {
        for percent in [60, 80, 95, 100] {
            let starts = starts_with(percent, 300);
            assert!(starts.iter().sum::<u32>() <= 15 * 300, "{percent} %: {starts:?}");
        }
    }

    #[test]
    fn outages_do_not_become_usual() {
        let mut health = Health::default();
        let mut now = 0;
        for outage in 0..30 {
            for _ in 0..5 {
                assert!(!health.is_cooling(), "outage {outage}");
                health.started(at(now));
                health.ended(Sign::Trouble, false, at(now));
            }
            assert!(health.is_cooling(), "outage {outage}");
            // It stays away for a while, and returns for ten seconds.
            for _ in 0..100 {
                now += 110;
                health.started(at(now));
                health.ended(Sign::Trouble, false, at(now));
            }
            for _ in 0..100 {
                now += 100;
                health.started(at(now));
                health.ended(Sign::Well, false, at(now));
            }
            assert!(!health.is_limited());
        }
    }
}
