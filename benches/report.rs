//! What was measured: the table for people, the lines for programs, and what a row is held against.
//!
//! Nothing is measured here.

use std::time::Duration;

use serde_json::json;

/// A piece of the daemon's next to a bare one.
pub(crate) struct Ratio {
    to: &'static str,
    value: f64,
    /// The lowest and the highest, when it was measured more than once.
    between: Option<(f64, f64)>,
}

/// What was measured in turns with a bare piece: the bare loops of a shared machine differ by half within minutes, so each turn is
/// held against what was bare just before and just after it.
#[derive(Default)]
pub(crate) struct Turns(Vec<(f64, f64)>);

impl Turns {
    /// An odd number, so that there is a middle one.
    const COUNT: u32 = 3;

    /// Takes the turns. `bare` runs between any two of `own` and at both ends: `own` for `phase` in all, `bare` for two thirds of that.
    pub(crate) async fn take(
        phase: Duration,
        mut bare: impl AsyncFnMut(Duration) -> anyhow::Result<f64>,
        mut own: impl AsyncFnMut(Duration) -> anyhow::Result<f64>,
    ) -> anyhow::Result<Self> {
        let (mut turns, part) = (Self::default(), phase / Self::COUNT);
        let mut before = bare(part / 2).await?;
        for _ in 0..Self::COUNT {
            let value = own(part).await?;
            let after = bare(part / 2).await?;
            turns.0.push((value, f64::midpoint(before, after)));
            before = after;
        }
        Ok(turns)
    }

    /// The middle one of the daemon's.
    pub(crate) fn value(&self) -> f64 {
        middle(self.0.iter().map(|(value, _)| *value).collect()).1
    }

    fn ratio(&self, to: &'static str) -> Ratio {
        let (lowest, value, highest) = middle(self.0.iter().map(|(value, bare)| value / bare.max(1e-9)).collect());
        Ratio { to, value, between: Some((lowest, highest)) }
    }
}

/// The lowest, the middle one, and the highest.
fn middle(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or_default();
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}

#[derive(Default)]
pub(crate) struct Table(pub(crate) Vec<Row>);

pub(crate) struct Row {
    name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    ratio: Option<Ratio>,
}

impl Table {
    pub(crate) fn row(&mut self, name: &str, value: f64, unit: &'static str, baseline: Option<(&'static str, f64)>) {
        let ratio = baseline.map(|(to, bare)| Ratio { to, value: value / bare.max(1e-9), between: None });
        self.0.push(Row { name: name.to_owned(), value, unit, ratio });
    }

    /// What was measured in turns with `to`.
    pub(crate) fn in_turns(&mut self, name: &str, turns: &Turns, unit: &'static str, to: &'static str) {
        let ratio = Some(turns.ratio(to));
        self.0.push(Row { name: name.to_owned(), value: turns.value(), unit, ratio });
    }

    pub(crate) fn print(&self) {
        for row in &self.0 {
            let decimals = if row.value >= 100.0 || row.value == 0.0 { 0 } else { 2 };
            let ratio = row.ratio.as_ref().map_or_else(String::new, Ratio::text);
            println!("{:<46} {:>10.decimals$} {:<18}{ratio}", row.name, row.value, row.unit);
        }
        println!();
        for row in &self.0 {
            let ratio = row.ratio.as_ref();
            let between = ratio.and_then(|ratio| ratio.between).map(|(lowest, highest)| [lowest, highest]);
            let (value, to) = ratio.map(|ratio| (ratio.value, ratio.to)).unzip();
            let name = row.name.trim();
            let (number, unit) = (row.value, row.unit);
            println!(
                "{}",
                json!({"name": name, "value": number, "unit": unit, "ratio": value, "to": to, "between": between})
            );
        }
    }
}

impl Ratio {
    fn text(&self) -> String {
        let between = self.between.map_or_else(String::new, |(low, high)| format!(" ({low:.2} to {high:.2})"));
        format!("  {:.2} x {}{between}", self.value, self.to)
    }
}
