//! Figures against a list of everything that happened.

use proptest::prelude::*;

use super::*;

const START: u64 = 1_795_425_932_345;

fn at(elapsed_millis: u64, offset: i64) -> Now {
    let wall = i64::try_from(elapsed_millis).unwrap() + i64::try_from(START).unwrap() + offset;
    Now { wall: Timestamp::from_millis(u64::try_from(wall).unwrap()), elapsed: Duration::from_millis(elapsed_millis) }
}

fn ended(code: u16, millis: u64) -> Ended {
    Ended { class: Class::of(code), is_resend: false, gave_up: false, duration: Duration::from_millis(millis) }
}

/// What a plain list of instants comes to, while nobody sets the clock.
fn counted(walls: &[u64], window: Window, now: Now) -> Vec<[u32; 1]> {
    let slice = millis(window.slice());
    let first = window.starts_at(now).millis() / slice;
    let mut slices = vec![[0]; window.slices()];
    for wall in walls {
        if let Some(slice) = (wall / slice).checked_sub(first).and_then(|place| slices.get_mut(place as usize)) {
            slice[0] += 1;
        }
    }
    slices
}

/// Pauses that matter: within a slice, some slices, longer than a window.
fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![0..90_000_u64, 0..7_200_000_u64, 0..200_000_000_u64]
}

proptest! {
    #[test]
    fn counts_are_those_of_a_plain_list(pauses in prop::collection::vec(pause(), 1..60)) {
        let mut counter = Counter::<1>::new(at(0, 0));
        let (mut elapsed, mut walls) = (0, Vec::new());
        for pause in pauses {
            elapsed += pause;
            let now = at(elapsed, 0);
            counter.add([1], now);
            walls.push(now.wall.millis());
            for window in [Window::Hour, Window::Day] {
                prop_assert_eq!(counter.read(window, now), counted(&walls, window, now));
            }
            let later = at(elapsed + pause / 3, 0);
            prop_assert_eq!(counter.clone().read(Window::Hour, later), counted(&walls, Window::Hour, later));
        }
    }

    /// A clock that is set moves no count by more than a slice for each time it was set, whatever
    /// the calendar says; and what was just counted is in the current slice.
    #[test]
    fn a_clock_that_is_set_moves_nothing_out_of_its_time(
        moves in prop::collection::vec((pause(), prop::option::weighted(0.2, -400_000_000..400_000_000_i64)), 1..40),
    ) {
        let mut counter = Counter::<1>::new(at(0, 0));
        let (mut elapsed, mut offset, mut steps, mut added) = (0, 0_i64, 0_u64, Vec::new());
        for (pause, step) in moves {
            elapsed += pause;
            if let Some(step) = step {
                (offset, steps) = (offset + step, steps + 1);
            }
            let now = at(elapsed, offset);
            let before = counter.clone().read(Window::Hour, now)[59][0];
            counter.add([1], now);
            added.push(elapsed);
            for window in [Window::Hour, Window::Day] {
                let slices = counter.read(window, now);
                let slice = millis(window.slice());
                let younger = |slices: u64| added.iter().filter(|at| elapsed - **at < slices * slice).count() as u32;
                let sum: u32 = slices.iter().map(|slice| slice[0]).sum();
                let reach = window.slices() as u64;
                prop_assert!(sum >= younger(reach.saturating_sub(1 + steps)), "{window:?}: {sum}");
                prop_assert!(sum <= younger(reach + steps), "{window:?}: {sum}");
            }
            prop_assert_eq!(counter.read(Window::Hour, now)[59][0], before + 1);
            prop_assert_eq!(Window::Hour.starts_at(now).millis() % 60_000, 0);
            let reach = now.wall.since(Window::Hour.starts_at(now));
            prop_assert!(reach >= Duration::from_mins(59) && reach < Duration::from_mins(60));
        }
    }

    /// Clocks that are read one after the other, and one that is being disciplined, are no steps.
    #[test]
    fn a_wavering_clock_loses_and_merges_nothing(waver in prop::collection::vec(-400..400_i64, 100)) {
        let mut counter = Counter::<1>::new(at(0, 0));
        for (second, waver) in (0..).zip(&waver) {
            counter.add([1], at(second * 1_000, *waver));
        }
        let slices = counter.read(Window::Hour, at(99_000, 0));
        let sum: u32 = slices.iter().map(|slice| slice[0]).sum();
        prop_assert_eq!(sum, 100);
        // 27.655 s are left of the first minute, and then 60.
        let last: Vec<i64> = slices[57..].iter().map(|slice| i64::from(slice[0])).collect();
        prop_assert!((last[0] - 28).abs() <= 1 && (last[1] - 60).abs() <= 2 && (last[2] - 12).abs() <= 2, "{last:?}");
    }

    #[test]
    fn percentiles_are_near_the_true_ones(mut millis in prop::collection::vec(1..100_000_u64, 1..400)) {
        let mut series = Series::new(at(0, 0));
        for one in &millis {
            series.add(&ended(200, *one), at(0, 0));
        }
        millis.sort_unstable();
        let figures = series.read(Window::Day, at(60_000, 0));
        for (part, told) in [(0.5, figures.p50), (0.95, figures.p95), (0.99, figures.p99)] {
            let rank = (millis.len() as f64 * part).ceil() as usize;
            let (true_one, told) = (millis[rank.max(1) - 1] as f64, told.unwrap().as_secs_f64() * 1_000.0);
            prop_assert!(told / true_one < BUCKET_RATIO && true_one / told < BUCKET_RATIO, "{part}: {told} for {true_one}");
        }
    }
}

#[test]
fn every_class_has_its_place() {
    let mut series = Series::new(at(0, 0));
    for (code, times) in [(0, 1), (204, 2), (302, 3), (410, 4), (503, 5), (101, 6)] {
        for _ in 0..times {
            series.add(&ended(code, 5), at(0, 0));
        }
    }
    series.add(&Ended { gave_up: true, is_resend: true, ..ended(500, 5) }, at(70_000, 0));
    let figures = series.read(Window::Hour, at(70_000, 0));
    assert_eq!(figures.slices[58..], [[1, 2, 3, 4, 11, 0, 0], [0, 0, 0, 0, 1, 1, 1]]);
    assert_eq!(series.read(Window::Day, at(70_000, 0)).slices[47], [1, 2, 3, 4, 12, 1, 1]);
    assert_eq!(Window::parse("1h").map(Window::slices), Some(60));
    assert_eq!(Window::parse("24h").map(Window::slices), Some(48));
    assert!(Window::parse("1d").is_none() && Window::parse("").is_none());
}

#[test]
fn only_what_answered_has_a_latency_and_it_is_forgotten_in_time() {
    let mut series = Series::new(at(0, 0));
    series.add(&ended(0, 10_000), at(0, 0));
    assert_eq!(series.read(Window::Hour, at(0, 0)).p50, None);
    series.add(&ended(500, 40), at(0, 0));
    let p50 = |series: &mut Series, window, minutes: u64| series.read(window, at(minutes * 60_000, 0)).p50;
    assert!(p50(&mut series, Window::Hour, 59).is_some());
    assert!(p50(&mut series, Window::Hour, 71).is_none());
    assert!(p50(&mut series, Window::Day, 24 * 60 - 1).is_some());
    assert!(p50(&mut series, Window::Day, 27 * 60 + 1).is_none());
    assert_eq!(series.read(Window::Day, at(28 * 3_600_000, 0)), Figures::none(Window::Day));
    // Beyond the last bucket, and below the first.
    for duration in [Duration::from_hours(5), Duration::ZERO] {
        assert!(bucket_of(duration) < BUCKETS);
    }
    assert!(FIRST_BUCKET_SECONDS * BUCKET_RATIO.powi(BUCKETS as i32 - 2) > 120.0);
}

/// Busy all day: as much as a webhook can ever take.
#[test]
fn a_series_stays_small() {
    let mut series = Series::new(at(0, 0));
    for minute in 0..3_000_u64 {
        for millis in [1, 30, 700, 9_000] {
            series.add(&ended(200, millis), at(minute * 60_000, 0));
        }
    }
    let rings = size_of::<[u32; SERIES_COLUMNS]>() * (60 + 48);
    let blocks = series.latencies.hour.slices.iter().chain(&series.latencies.day.slices);
    let blocks: usize = blocks.map(|block| size_of_val(block) + block.as_deref().map_or(0, size_of_val)).sum();
    let bytes = size_of::<Series>() + rings + blocks;
    assert!(bytes <= 6_656, "{bytes}");
}

#[test]
fn a_backlog_drains_at_the_net_pace() {
    let minute = |number: u64| at(number * 60_000, 0);
    let mut pace = Pace::new(minute(0));
    assert_eq!(pace.drain(10, minute(0)), None, "nothing moves");
    assert_eq!(pace.drain(0, minute(0)), Some(Duration::ZERO));
    for number in 0..20 {
        pace.made(100, minute(number));
        for _ in 0..160 {
            pace.ended(minute(number));
        }
    }
    // One more ends each second than is made.
    let drain = pace.drain(600, minute(19)).unwrap().as_secs();
    assert!((500..=620).contains(&drain), "{drain}");
    assert!(pace.drain(600, minute(23)).is_some());
    assert_eq!(pace.drain(600, minute(26)), None, "what was before counts no more");
    pace.made(1_000, minute(26));
    pace.ended(minute(26));
    assert_eq!(pace.drain(600, minute(26)), None, "it grows");
    // Just started, the time since then is what counts.
    let mut pace = Pace::new(minute(100));
    for _ in 0..50 {
        pace.ended(at(6_000_000 + 5_000, 0));
    }
    let drain = pace.drain(100, at(6_000_000 + 10_000, 0)).unwrap();
    assert_eq!(drain, Duration::from_secs(20));
}
