//! Wall-clock instants and days, as plain numbers.
//!
//! A `Timestamp` is what is written to disk and shown to people. It never measures how long
//! something took: that is the monotonic clock's work, in `clock`.

use std::fmt;
use std::time::Duration;

const MILLIS_PER_DAY: u64 = 86_400_000;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the epoch. Capped at the year 9999, the last one with a text form.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        const LAST: u64 = 253_402_207_200_000;
        Self(if millis > LAST { LAST } else { millis })
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This instant moved later, saturating.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// This instant moved earlier, saturating at the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// How long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The UTC day this instant lies in.
    #[must_use]
    pub fn day(self) -> Day {
        Day(u32::try_from(self.0 / MILLIS_PER_DAY).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.day().civil();
        let of_day = self.0 % MILLIS_PER_DAY;
        let (seconds, millis) = (of_day / 1000, of_day % 1000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For records and due times that outlive the process.
    pub wall: Timestamp,
    /// For waiting: never steps.
    pub elapsed: Duration,
}

/// A UTC day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    /// From the number of days since 1970-01-01.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The first instant of the day.
    #[must_use]
    pub const fn start(self) -> Timestamp {
        Timestamp::from_millis(self.0 as u64 * MILLIS_PER_DAY)
    }

    /// The first instant of the next day.
    #[must_use]
    pub const fn end(self) -> Timestamp {
        Timestamp::from_millis((self.0 as u64 + 1) * MILLIS_PER_DAY)
    }

    /// Parses `YYYY-MM-DD`, the name of a day folder.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let date: jiff::civil::Date = text.parse().ok()?;
        if text.len() != 10 {
            return None;
        }
        let days = date.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days();
        Some(Self(u32::try_from(days).ok()?))
    }

    /// Year, month and day of the month.
    fn civil(self) -> (i16, i8, i8) {
        let epoch = jiff::civil::date(1970, 1, 1);
        let date = epoch.saturating_add(jiff::Span::new().days(i64::from(self.0.min(2_932_896))));
        (date.year(), date.month(), date.day())
    }
}

impl fmt::Display for Day {
    /// `YYYY-MM-DD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_utc() {
        let at = Timestamp::from_millis(1_795_425_932_045);
        assert_eq!(at.to_string(), "2026-11-23T09:25:32.045Z");
        assert_eq!(at.day().to_string(), "2026-11-23");
        assert_eq!(Day::parse("2026-11-23"), Some(at.day()));
        assert_eq!(Day::parse("2026-13-01"), None);
        assert_eq!(Timestamp::from_millis(u64::MAX).day().to_string(), "9999-12-30");
    }

    #[test]
    fn every_day_of_two_centuries_round_trips() {
        for number in 0..73_050 {
            let day = Day::from_number(number);
            assert_eq!(Day::parse(&day.to_string()), Some(day));
            assert_eq!(day.start().day(), day);
            assert_eq!(day.end().minus(Duration::from_millis(1)).day(), day);
        }
    }
}
