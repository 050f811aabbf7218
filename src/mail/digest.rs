//! When there is a mail, and what it tells: pure, a function of what happened, `now` and the
//! digest interval.
//!
//! An episode begins with a failure and ends with the mail that says that the receiver takes
//! deliveries again. It sends nothing and knows no addresses. Its invariant: every failure that was
//! noted is told by exactly one mail, listed there or counted; and a webhook has at most five
//! mails in four digest intervals, however its receiver comes and goes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::saved;
use crate::domain::time::Timestamp;

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `dlv_…`
    pub delivery: String,
    /// Name of the event type; empty when it could not be looked up.
    pub event_type: String,
    /// `scanRef` of the payload.
    pub scan_ref: Option<String>,
    /// When the event was accepted.
    #[serde(with = "saved::instant")]
    pub accepted_at: Timestamp,
    /// When it was given up.
    #[serde(with = "saved::instant")]
    pub at: Timestamp,
    /// Attempts made.
    pub attempts: u32,
    /// The last answer: a code, or an error kind in its word.
    pub result: String,
}

/// Failures that are told together: the first ones listed, all counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Some of them, oldest first.
    pub listed: Vec<Entry>,
    /// How many of each event type.
    pub types: BTreeMap<String, u64>,
    /// How many of each result.
    pub results: BTreeMap<String, u64>,
    /// When the first was given up.
    #[serde(with = "saved::instant")]
    pub first_at: Timestamp,
    /// When the last was given up.
    #[serde(with = "saved::instant")]
    pub last_at: Timestamp,
}

impl Tally {
    /// The most that are listed.
    pub const LISTED_MAX: usize = 100;
    /// The most event types that are counted apart; they are an app's to invent.
    const TYPES_MAX: usize = 50;
    /// What the others are counted as.
    const OTHER_TYPES: &str = "other types";

    /// One more.
    pub fn add(&mut self, entry: Entry) {
        if self.count == 0 {
            (self.first_at, self.last_at) = (entry.at, entry.at);
        }
        self.count += 1;
        self.first_at = self.first_at.min(entry.at);
        self.last_at = self.last_at.max(entry.at);
        let known = self.types.len() < Self::TYPES_MAX || self.types.contains_key(&entry.event_type);
        let name = if known { entry.event_type.clone() } else { Self::OTHER_TYPES.to_owned() };
        *self.types.entry(name).or_default() += 1;
        *self.results.entry(entry.result.clone()).or_default() += 1;
        if self.listed.len() < Self::LISTED_MAX {
            self.listed.push(entry);
        }
    }

    /// What a listed one is, when that was not known.
    pub fn name(&mut self, place: usize, event_type: String, scan_ref: Option<String>) {
        let Some(entry) = self.listed.get_mut(place).filter(|entry| entry.event_type.is_empty()) else { return };
        if let Some(count) = self.types.get_mut("") {
            *count -= 1;
            if *count == 0 {
                self.types.remove("");
            }
        }
        *self.types.entry(event_type.clone()).or_default() += 1;
        (entry.event_type, entry.scan_ref) = (event_type, scan_ref);
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// What a mail is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Deliveries failed.
    Failures,
    /// The receiver takes deliveries again; perhaps with failures that were not told yet.
    Recovery,
}

/// What a mail tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What it is about.
    pub kind: Kind,
    /// Failures that no mail told before.
    pub fresh: Tally,
    /// When the episode began.
    #[serde(with = "saved::instant")]
    pub since: Timestamp,
    /// When the oldest event whose delivery failed in it was accepted.
    #[serde(with = "saved::instant")]
    pub oldest: Timestamp,
    /// Failures of the episode so far, those that were told before included.
    pub total: u64,
    /// When the receiver took a delivery again.
    #[serde(with = "saved::instant_option")]
    pub recovered_at: Option<Timestamp>,
}

/// What is going on with a webhook, and when it was last written about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// When it began; `None` between episodes.
    #[serde(with = "saved::instant_option")]
    since: Option<Timestamp>,
    /// When the oldest event in it was accepted.
    #[serde(with = "saved::instant_option")]
    oldest: Option<Timestamp>,
    /// Failures not told yet.
    fresh: Tally,
    /// Failures in all.
    total: u64,
    #[serde(with = "saved::instant_option")]
    last_failure: Option<Timestamp>,
    /// The first success after the last failure.
    #[serde(with = "saved::instant_option")]
    success: Option<Timestamp>,
    #[serde(with = "saved::instant_option")]
    last_mail: Option<Timestamp>,
    #[serde(with = "saved::instant_option")]
    last_recovery: Option<Timestamp>,
}

impl Episode {
    /// How long the first failure of an episode waits for others.
    pub const GATHER: Duration = Duration::from_secs(2);
    /// How long there must have been no failure before a recovery is believed.
    pub const QUIET_MAX: Duration = Duration::from_secs(60);
    /// Within so many digest intervals one recovery is told at once; more wait like any mail.
    const RECOVERY_SPACING: u32 = 4;

    /// A delivery was given up.
    pub fn failed(&mut self, entry: Entry) {
        self.since.get_or_insert(entry.at);
        self.oldest = Some(self.oldest.map_or(entry.accepted_at, |oldest| oldest.min(entry.accepted_at)));
        self.last_failure = Some(entry.at);
        self.success = None;
        self.total += 1;
        self.fresh.add(entry);
    }

    /// The receiver took a delivery.
    pub fn succeeded(&mut self, at: Timestamp) {
        if self.since.is_some() {
            self.success.get_or_insert(at);
        }
    }

    /// Whether the next success matters.
    #[must_use]
    pub const fn awaits_success(&self) -> bool {
        self.since.is_some() && self.success.is_none()
    }

    /// Failures that no mail has told.
    #[must_use]
    pub const fn untold(&self) -> u64 {
        self.fresh.count
    }

    /// When the next mail is due, and what about. Never further away than a digest interval, or a
    /// quiet minute: instants after `now` come from a clock that was set back, and count as past.
    #[must_use]
    pub fn next(&self, digest: Duration, now: Timestamp) -> Option<(Timestamp, Kind)> {
        self.since?;
        let after = |from: Option<Timestamp>, wait: Duration| match from {
            Some(from) if from <= now => from.plus(wait),
            Some(_) => now,
            None => Timestamp::default(),
        };
        let spaced = after(self.last_mail, digest);
        if self.success.is_some() {
            let quiet = after(self.last_failure, digest.min(Self::QUIET_MAX));
            let recovery = quiet.max(spaced.min(after(self.last_recovery, digest * Self::RECOVERY_SPACING)));
            // What failed first is told at once all the same; what came later goes with the recovery.
            let untold_start = self.untold() == self.total && !self.fresh.is_empty();
            let first = after(Some(self.fresh.first_at), Self::GATHER).max(spaced);
            return Some(if untold_start && first < recovery {
                (first, Kind::Failures)
            } else {
                (recovery, Kind::Recovery)
            });
        }
        let failures = after(Some(self.fresh.first_at), Self::GATHER).max(spaced);
        (!self.fresh.is_empty()).then_some((failures, Kind::Failures))
    }

    /// What the mail that is due now tells. It is then told.
    pub fn take(&mut self, kind: Kind, now: Timestamp) -> Told {
        let fresh = std::mem::take(&mut self.fresh);
        let told = Told {
            kind,
            since: self.since.unwrap_or(now),
            oldest: self.oldest.or(self.since).unwrap_or(now),
            total: self.total,
            recovered_at: self.success.filter(|_| kind == Kind::Recovery),
            fresh,
        };
        self.last_mail = Some(now);
        if kind == Kind::Recovery {
            *self = Self { last_mail: Some(now), last_recovery: Some(now), ..Self::default() };
        }
        told
    }

    /// Whether nothing about it matters any more.
    #[must_use]
    pub fn is_over(&self, digest: Duration, now: Timestamp) -> bool {
        let past =
            |at: Option<Timestamp>| at.is_none_or(|at| at > now || now.since(at) > digest * Self::RECOVERY_SPACING);
        self.since.is_none() && past(self.last_mail) && past(self.last_recovery)
    }
}

/// Mails that went out within the last hour, over all webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    #[serde(with = "saved::instants")]
    at: Vec<Timestamp>,
}

impl Hour {
    const HOUR: Duration = Duration::from_hours(1);

    /// When there may be one more.
    #[must_use]
    pub fn next(&mut self, most: u32, now: Timestamp) -> Timestamp {
        // Those after now come from a clock that was set back.
        self.at.retain(|at| *at <= now && now.since(*at) < Self::HOUR);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        match self.at.len().checked_sub(most) {
            Some(place) => self.at.get(place).map_or(now, |at| at.plus(Self::HOUR)),
            None => now,
        }
    }

    /// There was one.
    pub fn note(&mut self, now: Timestamp) {
        self.at.push(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: Duration = Duration::from_mins(15);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_795_425_932_000 + millis)
    }

    fn entry(number: u64, when: Timestamp) -> Entry {
        Entry {
            delivery: format!("dlv_{number}"),
            event_type: "SOS_REPORT".to_owned(),
            scan_ref: None,
            accepted_at: when,
            at: when,
            attempts: 6,
            result: "503".to_owned(),
        }
    }

    /// What happens, by instant: a failure, or a success.
    type Happening = (u64, bool);

    /// Plays it, asking at every instant when something is due, and goes on until nothing is.
    fn play(happenings: &[Happening], digest: Duration) -> Vec<(Timestamp, Told)> {
        let mut episode = Episode::default();
        let mut mails = Vec::new();
        let mut number = 0;
        for place in 0..=happenings.len() {
            let until = happenings.get(place).map_or(at(u64::MAX / 4), |(millis, _)| at(*millis));
            let mut now = place.checked_sub(1).map_or(at(0), |before| at(happenings[before].0));
            while let Some((due, kind)) = episode.next(digest, now).filter(|(due, _)| (*due).max(now) < until) {
                now = due.max(now);
                mails.push((now, episode.take(kind, now)));
            }
            match happenings.get(place) {
                Some((millis, true)) => {
                    episode.failed(entry(number, at(*millis)));
                    number += 1;
                }
                Some((millis, false)) => episode.succeeded(at(*millis)),
                None => {}
            }
        }
        assert_eq!(episode.untold(), 0, "everything is told in the end");
        mails
    }

    fn told(mails: &[(Timestamp, Told)]) -> u64 {
        mails.iter().map(|(_, told)| told.fresh.count).sum()
    }

    #[test]
    fn a_burst_is_one_mail_and_a_recovery_ends_it() {
        let mails = play(&[(0, true), (500, true), (1_900, true), (5_000, false)], DIGEST);
        let shape: Vec<_> =
            mails.iter().map(|(when, told)| (when.since(at(0)).as_secs(), told.kind, told.fresh.count)).collect();
        assert_eq!(shape, [(2, Kind::Failures, 3), (61, Kind::Recovery, 0)]);
        assert_eq!(mails[1].1.total, 3);
        assert_eq!(mails[1].1.recovered_at, Some(at(5_000)));
    }

    #[test]
    fn a_success_before_a_failure_is_no_recovery() {
        let mails = play(&[(0, true), (10_000, false), (20_000, true)], DIGEST);
        assert!(mails.iter().all(|(_, told)| told.kind == Kind::Failures));
        assert_eq!(told(&mails), 2);
    }

    #[test]
    fn ten_thousand_failures_in_an_hour_are_five_mails_and_none_is_forgotten() {
        let storm: Vec<Happening> = (0..10_000).map(|number| (number * 360, true)).collect();
        for end in [None, Some((3_600_500, false))] {
            let happenings: Vec<Happening> = storm.iter().copied().chain(end).collect();
            let mails = play(&happenings, DIGEST);
            assert!(mails.len() <= 5, "{}", mails.len());
            assert_eq!(told(&mails), 10_000);
            assert!(mails.iter().all(|(_, told)| told.fresh.listed.len() <= Tally::LISTED_MAX));
            let counted = |told: &Told| (told.fresh.types.values().sum(), told.fresh.results.values().sum());
            assert!(mails.iter().all(|(_, told)| counted(told) == (told.fresh.count, told.fresh.count)));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let mut episode = Episode::default();
        episode.failed(entry(1, at(9_000_000)));
        assert_eq!(episode.next(DIGEST, at(0)), Some((at(0), Kind::Failures)));
        let _ = episode.take(Kind::Failures, at(9_000_000));
        episode.failed(entry(2, at(10)));
        let (due, _) = episode.next(DIGEST, at(3_000)).unwrap();
        assert!(due <= at(3_000));
        episode.succeeded(at(20));
        assert!(episode.next(DIGEST, at(3_000)).unwrap().0 <= at(60_010));
    }

    #[test]
    fn the_hour_holds_back_and_lets_go() {
        let mut hour = Hour::default();
        for minute in 0..20 {
            let now = at(minute * 60_000);
            assert_eq!(hour.next(20, now), now);
            hour.note(now);
        }
        assert_eq!(hour.next(20, at(1_200_000)), at(3_600_000));
        assert_eq!(hour.next(5, at(1_200_000)), at(15 * 60_000 + 3_600_000), "a limit that was lowered");
        assert_eq!(hour.next(20, at(3_600_000)), at(3_600_000));
    }

    #[test]
    fn types_that_apps_invent_do_not_grow_without_end() {
        let mut tally = Tally::default();
        for number in 0..500 {
            tally.add(Entry { event_type: format!("TYPE_{number}"), ..entry(number, at(number)) });
        }
        assert!(tally.types.len() <= Tally::TYPES_MAX + 1);
        assert_eq!(tally.types.values().sum::<u64>(), 500);
    }

    proptest! {
        #[test]
        fn each_failure_is_told_once_and_mails_are_few(
            steps in proptest::collection::vec((0_u64..400_000, any::<bool>()), 1..300),
            minutes in 1_u64..60,
        ) {
            let digest = Duration::from_mins(minutes);
            let mut now = 0;
            let happenings: Vec<Happening> = steps.iter().map(|(step, failed)| { now += step; (now, *failed) }).collect();
            let mails = play(&happenings, digest);
            let failures = happenings.iter().filter(|(_, failed)| *failed).count() as u64;
            prop_assert_eq!(told(&mails), failures);
            let mut listed: Vec<&str> =
                mails.iter().flat_map(|(_, told)| &told.fresh.listed).map(|entry| entry.delivery.as_str()).collect();
            let before = listed.len();
            listed.sort_unstable();
            listed.dedup();
            prop_assert_eq!(listed.len(), before, "listed twice");
            for (place, (when, _)) in mails.iter().enumerate() {
                let window = mails[place..].iter().take_while(|(later, _)| later.since(*when) < digest * 4).count();
                prop_assert!(window <= 5, "{} mails in four intervals", window);
            }
            // An episode that ended well is told as ended, and only then.
            let ended_well = happenings.iter().rev().take_while(|(_, failed)| !*failed).count() > 0;
            if failures > 0 {
                prop_assert_eq!(mails.last().is_some_and(|(_, told)| told.kind == Kind::Recovery), ended_well);
            }
        }
    }
}
