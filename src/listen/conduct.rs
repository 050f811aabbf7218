//! How a receiver behaves: what it does with its n-th request, well or badly.
//!
//! Pure: it decides and does nothing. Chance comes in as a number, so that a share of resets is as fair as its caller's.

use std::time::Duration;

/// What to do with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// How long to wait first.
    pub delay: Duration,
    /// And then.
    pub act: Act,
}

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// An answer without a body.
    Answer {
        /// Its status.
        status: u16,
        /// Seconds, as `Retry-After`.
        retry_after: Option<u32>,
    },
    /// The same, a byte at a time.
    Drip {
        /// Its status.
        status: u16,
        /// Seconds, as `Retry-After`.
        retry_after: Option<u32>,
    },
    /// The connection is reset.
    Reset,
    /// An answer whose body does not end by itself.
    Endless {
        /// Its status.
        status: u16,
    },
}

impl Reaction {
    /// An answer at once.
    #[must_use]
    pub const fn answer(status: u16) -> Self {
        Self { delay: Duration::ZERO, act: Act::Answer { status, retry_after: None } }
    }

    /// The same, later.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// Statuses that are answered in turn, and again from the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Vec<(u16, u32)>);

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![(200, 1)])
    }
}

impl Statuses {
    /// That of the request with this number, from 0.
    #[must_use]
    pub fn of(&self, number: u64) -> u16 {
        let round: u64 = self.0.iter().map(|(_, times)| u64::from(*times)).sum();
        let mut place = number % round.max(1);
        for (status, times) in &self.0 {
            match place.checked_sub(u64::from(*times)) {
                None => return *status,
                Some(rest) => place = rest,
            }
        }
        200
    }
}

impl std::str::FromStr for Statuses {
    type Err = String;

    /// `200,503,503`, or `200x9,503`.
    fn from_str(text: &str) -> Result<Self, String> {
        let one = |word: &str| {
            let (status, times) = word.split_once(['x', 'X']).unwrap_or((word, "1"));
            let status = status.parse().ok().filter(|status| (200..=599).contains(status))?;
            let times = times.parse().ok().filter(|times| *times > 0)?;
            Some((status, times))
        };
        let wrong = |word: &str| {
            format!("\"{word}\" is not a status from 200 to 599; write 503, or 200x9,503 for nine and one")
        };
        text.split(',')
            .map(str::trim)
            .map(|word| one(word).ok_or_else(|| wrong(word)))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Which requests are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Share {
    /// None.
    #[default]
    None,
    /// Every n-th.
    Every(u64),
    /// Each with this probability.
    Chance(f64),
}

impl Share {
    /// Whether the request with this number, from 0, is. `chance` is in `[0, 1)`.
    #[must_use]
    pub fn has(self, number: u64, chance: f64) -> bool {
        match self {
            Self::None => false,
            Self::Every(nth) => (number + 1).is_multiple_of(nth),
            Self::Chance(part) => chance < part,
        }
    }
}

impl std::str::FromStr for Share {
    type Err = String;

    /// `20%`, `3` or `3rd` for every third.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a share; write 20%, or 3 for every third");
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return if (0.0..=100.0).contains(&percent) { Ok(Self::Chance(percent / 100.0)) } else { Err(wrong()) };
        }
        let digits = ["st", "nd", "rd", "th"].into_iter().find_map(|end| text.strip_suffix(end)).unwrap_or(text);
        digits.parse().ok().filter(|nth| *nth > 0).map(Self::Every).ok_or_else(wrong)
    }
}

/// The conduct that `postrider listen` is told.
#[derive(Clone, Debug, Default)]
pub struct Conduct {
    /// What is answered.
    pub statuses: Statuses,
    /// How long each answer takes.
    pub delay: Duration,
    /// Seconds, sent as `Retry-After` with 429 and 503.
    pub retry_after: Option<u32>,
    /// Which connections are reset instead.
    pub reset: Share,
    /// Answers come a byte at a time.
    pub slow_drip: bool,
    /// Answers have a body that does not end.
    pub endless_body: bool,
}

impl Conduct {
    /// What the request with this number, from 0, gets. `chance` is in `[0, 1)`.
    #[must_use]
    pub fn reaction(&self, number: u64, chance: f64) -> Reaction {
        let status = self.statuses.of(number);
        let retry_after = self.retry_after.filter(|_| matches!(status, 429 | 503));
        let act = if self.reset.has(number, chance) {
            Act::Reset
        } else if self.endless_body {
            Act::Endless { status }
        } else if self.slow_drip {
            Act::Drip { status, retry_after }
        } else {
            Act::Answer { status, retry_after }
        };
        Reaction { delay: self.delay, act }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_go_round() {
        let of = |text: &str, count: u64| {
            let statuses: Statuses = text.parse().unwrap();
            (0..count).map(|number| statuses.of(number)).collect::<Vec<_>>()
        };
        assert_eq!(of("204", 3), [204, 204, 204]);
        assert_eq!(of("200,503, 503", 5), [200, 503, 503, 200, 503]);
        assert_eq!(of("200x2,503", 7), [200, 200, 503, 200, 200, 503, 200]);
        assert_eq!(Statuses::default().of(u64::MAX), 200);
    }

    #[test]
    fn what_is_no_status_is_refused_by_name() {
        for text in ["", "ok", "20", "600", "100", "200x0", "200x", "200,,503", "200x-1", "200y3"] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
        assert!("200,banana".parse::<Statuses>().unwrap_err().contains("\"banana\""));
    }

    #[test]
    fn a_share_is_counted_or_drawn() {
        let every: Share = "3".parse().unwrap();
        assert_eq!((0..7).filter(|number| every.has(*number, 0.0)).collect::<Vec<_>>(), [2, 5]);
        assert_eq!("3rd".parse::<Share>(), Ok(every));
        assert_eq!("1".parse(), Ok(Share::Every(1)));
        let part: Share = "25%".parse().unwrap();
        assert!(part.has(0, 0.249) && !part.has(0, 0.25));
        assert!("100%".parse::<Share>().unwrap().has(0, 0.999) && !Share::None.has(0, 0.0));
        for text in ["", "0", "-1", "101%", "-1%", "NaN%", "%", "th", "often"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn retry_after_goes_with_statuses_that_ask_for_time() {
        let conduct = Conduct { statuses: "200,503,429".parse().unwrap(), retry_after: Some(7), ..Conduct::default() };
        let asked = |number| match conduct.reaction(number, 0.5).act {
            Act::Answer { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        assert_eq!([asked(0), asked(1), asked(2)], [None, Some(7), Some(7)]);
    }

    #[test]
    fn a_reset_comes_before_every_other_misconduct() {
        let conduct = Conduct { reset: Share::Every(2), slow_drip: true, ..Conduct::default() };
        assert_eq!(conduct.reaction(0, 0.0).act, Act::Drip { status: 200, retry_after: None });
        assert_eq!(conduct.reaction(1, 0.0).act, Act::Reset);
    }
}
