//! Figures over the last hour and the last day: counts per slice of time, latencies, and how fast a
//! backlog shrinks.
//!
//! It reads no clock and keeps no instants of single attempts, so its size depends neither on how
//! many there are nor on how long it counts. Invariants: slices are aligned to the wall clock, but
//! what was counted grows older by the monotonic one: a clock that is set, forwards or back, neither
//! empties the past nor shows it as the future; the slices of one answer are the same for everybody.

use std::time::Duration;

use super::attempt::Class;
use super::time::{Now, Timestamp};

/// How far back figures reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// 60 slices of a minute.
    Hour,
    /// 48 slices of half an hour.
    Day,
}

impl Window {
    /// `1h` or `24h`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1h" => Some(Self::Hour),
            "24h" => Some(Self::Day),
            _ => None,
        }
    }

    /// How long a slice is.
    #[must_use]
    pub const fn slice(self) -> Duration {
        match self {
            Self::Hour => Duration::from_mins(1),
            Self::Day => Duration::from_mins(30),
        }
    }

    /// How many slices there are, the current one among them.
    #[must_use]
    pub const fn slices(self) -> usize {
        match self {
            Self::Hour => 60,
            Self::Day => 48,
        }
    }

    /// When the first slice begins.
    #[must_use]
    pub fn starts_at(self, now: Now) -> Timestamp {
        let slice = millis(self.slice());
        let before = self.slices() as u64 - 1;
        Timestamp::from_millis((now.wall.millis() / slice).saturating_sub(before) * slice)
    }
}

/// The wall clock may be this far from where it is thought to be before that counts as a step: two
/// clocks are never read at the same instant, and one of them is being disciplined.
const STEP_MIN_MILLIS: u64 = 1_000;

/// Slices of time, the newest of which is the current one.
#[derive(Clone, Debug)]
struct Ring<T> {
    slice_millis: i64,
    slices: Box<[T]>,
    /// Where the newest slice lies.
    head: usize,
    /// Its number, counted by the wall clock from 1970.
    newest: i64,
    /// From the monotonic clock to the wall clock, in milliseconds.
    offset: i64,
}

impl<T: Default> Ring<T> {
    fn new(slice: Duration, slices: usize, now: Now) -> Self {
        let slice_millis = signed(millis(slice));
        let slices = std::iter::repeat_with(T::default).take(slices.max(1)).collect();
        Self { slice_millis, slices, head: 0, newest: number(now.wall, slice_millis), offset: offset(now) }
    }

    fn number_at(&self, elapsed: Duration, offset: i64) -> i64 {
        signed(millis(elapsed)).saturating_add(offset).div_euclid(self.slice_millis)
    }

    /// Moves on to the current slice, and gives it.
    fn turn(&mut self, now: Now) -> &mut T {
        let offset = offset(now);
        if self.offset.abs_diff(offset) > STEP_MIN_MILLIS {
            // The clock was set. What was counted keeps its age, under the numbers of the new time.
            let age = self.number_at(now.elapsed, self.offset) - self.newest;
            self.newest = self.number_at(now.elapsed, offset) - age;
            self.offset = offset;
        }
        let current = self.number_at(now.elapsed, self.offset);
        let passed = usize::try_from(current - self.newest).unwrap_or_default();
        for _ in 0..passed.min(self.slices.len()) {
            self.head = (self.head + 1) % self.slices.len();
            self.slices[self.head] = T::default();
        }
        self.newest = self.newest.max(current);
        &mut self.slices[self.head]
    }

    /// Every slice with its age in slices, by the wall clock; the oldest first.
    fn read(&mut self, now: Now) -> impl Iterator<Item = (usize, &T)> {
        self.turn(now);
        let ring: &Self = self;
        let ahead = number(now.wall, ring.slice_millis) - ring.newest;
        let count = ring.slices.len();
        (0..count).rev().map(move |age| {
            let place = (ring.head + count - age) % count;
            // At a slice's edge a ring may be a moment ahead of the clock, or behind.
            let shown = usize::try_from(signed(age as u64) + ahead).unwrap_or_default();
            (shown, &ring.slices[place])
        })
    }
}

/// Counts of several things over both windows.
#[derive(Clone, Debug)]
pub struct Counter<const COLUMNS: usize> {
    hour: Ring<Columns<COLUMNS>>,
    day: Ring<Columns<COLUMNS>>,
}

#[derive(Clone, Copy, Debug)]
struct Columns<const COLUMNS: usize>([u32; COLUMNS]);

impl<const COLUMNS: usize> Default for Columns<COLUMNS> {
    fn default() -> Self {
        Self([0; COLUMNS])
    }
}

impl<const COLUMNS: usize> Counter<COLUMNS> {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new(now: Now) -> Self {
        let ring = |window: Window| Ring::new(window.slice(), window.slices(), now);
        Self { hour: ring(Window::Hour), day: ring(Window::Day) }
    }

    /// Counts.
    pub fn add(&mut self, counts: [u32; COLUMNS], now: Now) {
        for ring in [&mut self.hour, &mut self.day] {
            for (sum, count) in ring.turn(now).0.iter_mut().zip(counts) {
                *sum = sum.saturating_add(count);
            }
        }
    }

    /// The counts of each slice, the oldest first.
    pub fn read(&mut self, window: Window, now: Now) -> Vec<[u32; COLUMNS]> {
        let ring = match window {
            Window::Hour => &mut self.hour,
            Window::Day => &mut self.day,
        };
        let mut slices = vec![[0_u32; COLUMNS]; window.slices()];
        for (age, counts) in ring.read(now) {
            let Some(slice) = slices.iter_mut().rev().nth(age) else { continue };
            for (sum, count) in slice.iter_mut().zip(counts.0) {
                *sum = sum.saturating_add(count);
            }
        }
        slices
    }
}

/// Buckets of a histogram. Together they reach from a quarter of a millisecond to more than any timeout.
const BUCKETS: usize = 48;
const FIRST_BUCKET_SECONDS: f64 = 0.000_25;
/// Each bucket ends so many times higher than the one before, which bounds the error.
const BUCKET_RATIO: f64 = 1.33;

type Buckets = [u32; BUCKETS];

fn bucket_of(duration: Duration) -> usize {
    let above = (duration.as_secs_f64() / FIRST_BUCKET_SECONDS).max(1.0).ln() / BUCKET_RATIO.ln();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and some 60")]
    let bucket = above.ceil() as usize;
    bucket.min(BUCKETS - 1)
}

/// The value that so large a part of all lies below; the values of a bucket are taken to be spread evenly.
fn percentile(buckets: &[u64; BUCKETS], part: f64) -> Option<Duration> {
    let all: u64 = buckets.iter().sum();
    if all == 0 {
        return None;
    }
    let rank = (all as f64 * part).ceil().max(1.0);
    let mut below = 0.0;
    for (bucket, count) in (0_i32..).zip(buckets) {
        let count = *count as f64;
        if count > 0.0 && below + count >= rank {
            let within = (rank - below - 0.5) / count;
            let exponent = f64::from(bucket) - 1.0 + within;
            return Some(Duration::from_secs_f64(FIRST_BUCKET_SECONDS * BUCKET_RATIO.powf(exponent)));
        }
        below += count;
    }
    None
}

/// How long attempts took. Kept in blocks of some slices, none of which is there before it is needed.
#[derive(Clone, Debug)]
struct Latencies {
    hour: Ring<Option<Box<Buckets>>>,
    day: Ring<Option<Box<Buckets>>>,
}

/// What attempts and deliveries came to in a slice: attempts by class, deliveries that failed for
/// good, attempts that were resends.
pub const SERIES_COLUMNS: usize = 7;
/// Place of what failed for good; before it are the five classes, `0` to `5xx`.
pub const FAILED: usize = 5;
/// Place of resends.
pub const RESENT: usize = 6;

/// An attempt that has ended, as far as figures go.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Class of its code.
    pub class: Class,
    /// An operator asked for it.
    pub is_resend: bool,
    /// Its delivery failed for good with it.
    pub gave_up: bool,
    /// How long it took.
    pub duration: Duration,
}

/// Attempts over time: of a webhook, or of all of them.
#[derive(Clone, Debug)]
pub struct Series {
    counts: Counter<SERIES_COLUMNS>,
    latencies: Latencies,
}

/// Figures of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Of each slice, the oldest first; see [`SERIES_COLUMNS`].
    pub slices: Vec<[u32; SERIES_COLUMNS]>,
    /// Half of the attempts that got a response took at most this long.
    pub p50: Option<Duration>,
    /// 95 of 100.
    pub p95: Option<Duration>,
    /// 99 of 100.
    pub p99: Option<Duration>,
}

impl Figures {
    /// Of nothing.
    #[must_use]
    pub fn none(window: Window) -> Self {
        Self { slices: vec![[0; SERIES_COLUMNS]; window.slices()], p50: None, p95: None, p99: None }
    }
}

impl Series {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new(now: Now) -> Self {
        // Blocks are coarser than slices: percentiles reach back a block further than counts.
        let hour = Ring::new(Window::Hour.slice() * 10, 7, now);
        let day = Ring::new(Window::Day.slice() * 6, 9, now);
        Self { counts: Counter::new(now), latencies: Latencies { hour, day } }
    }

    /// Counts an attempt.
    pub fn add(&mut self, ended: &Ended, now: Now) {
        let mut counts = [0; SERIES_COLUMNS];
        let class = match ended.class {
            Class::NoResponse => 0,
            Class::Success => 1,
            Class::Redirection => 2,
            Class::ClientError => 3,
            Class::ServerError | Class::Informational => 4,
        };
        counts[class] = 1;
        counts[FAILED] = u32::from(ended.gave_up);
        counts[RESENT] = u32::from(ended.is_resend);
        self.counts.add(counts, now);
        if ended.class == Class::NoResponse {
            return;
        }
        let bucket = bucket_of(ended.duration);
        for ring in [&mut self.latencies.hour, &mut self.latencies.day] {
            let buckets = ring.turn(now).get_or_insert_with(|| Box::new([0; BUCKETS]));
            buckets[bucket] = buckets[bucket].saturating_add(1);
        }
    }

    /// What it comes to.
    pub fn read(&mut self, window: Window, now: Now) -> Figures {
        let slices = self.counts.read(window, now);
        let ring = match window {
            Window::Hour => &mut self.latencies.hour,
            Window::Day => &mut self.latencies.day,
        };
        let mut buckets = [0; BUCKETS];
        for (_, block) in ring.read(now) {
            for (sum, count) in buckets.iter_mut().zip(block.iter().flat_map(|block| block.iter())) {
                *sum += u64::from(*count);
            }
        }
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|part| percentile(&buckets, part));
        Figures { slices, p50, p95, p99 }
    }
}

/// How fast deliveries come to their end, and how fast new ones are made, over the last minutes.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Made, ended.
    minutes: Ring<[u32; 2]>,
    since: Duration,
}

/// Full minutes that a pace is measured over.
const PACE_MINUTES: usize = 5;

impl Pace {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { minutes: Ring::new(Duration::from_mins(1), PACE_MINUTES + 1, now), since: now.elapsed }
    }

    /// Deliveries began to be pending.
    pub fn made(&mut self, count: u32, now: Now) {
        let [made, _] = self.minutes.turn(now);
        *made = made.saturating_add(count);
    }

    /// A delivery was attempted and is no longer pending.
    pub fn ended(&mut self, now: Now) {
        let [_, ended] = self.minutes.turn(now);
        *ended = ended.saturating_add(1);
    }

    /// When so many that are pending will be gone at this pace; `None` when they do not become fewer.
    pub fn drain(&mut self, pending: u64, now: Now) -> Option<Duration> {
        let sum = |sums: [i64; 2], (_, counts): (usize, &[u32; 2])| {
            [sums[0] + i64::from(counts[0]), sums[1] + i64::from(counts[1])]
        };
        let [made, ended] = self.minutes.read(now).fold([0, 0], sum);
        if pending == 0 {
            return Some(Duration::ZERO);
        }
        let net = u64::try_from(ended - made).ok().filter(|net| *net > 0)?;
        let of_minute = Duration::from_millis(now.wall.millis() % 60_000);
        let measured = Duration::from_mins(PACE_MINUTES as u64) + of_minute;
        let measured = measured.min(now.elapsed.saturating_sub(self.since)).max(Duration::from_secs(1));
        Some(Duration::from_secs_f64(measured.as_secs_f64() * pending as f64 / net as f64))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The number of the slice that an instant lies in.
fn number(at: Timestamp, slice_millis: i64) -> i64 {
    signed(at.millis()).div_euclid(slice_millis)
}

fn offset(now: Now) -> i64 {
    signed(now.wall.millis()).saturating_sub(signed(millis(now.elapsed)))
}

#[cfg(test)]
mod tests;
