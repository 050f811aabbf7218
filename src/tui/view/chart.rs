//! Small charts made of characters: counts as heights, shares as heights.
//!
//! They say what a figure beside them says as well; whoever can not see them misses nothing.

use crate::tui::text::Glyphs;

/// What the full height stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ramp {
    /// The greatest of the counts.
    Own,
    /// A given count, so that several charts can be compared.
    To(u64),
}

/// A character for each count. Anything that is there is seen: 1 of a million is not nothing.
#[must_use]
pub fn ramp(counts: &[u64], full: Ramp, glyphs: &Glyphs) -> String {
    let full = match full {
        Ramp::Own => counts.iter().copied().max().unwrap_or(0),
        Ramp::To(full) => full,
    };
    let steps = glyphs.ramp.len() as u64 - 1;
    let step = |count: u64| if count == 0 { 0 } else { (count * steps).div_ceil(full.max(1)).clamp(1, steps) };
    counts.iter().map(|count| glyphs.ramp[usize::try_from(step(*count)).unwrap_or(0)]).collect()
}

/// A character for each share from 0 to 1, in so many columns; blank where there is none. Nothing is
/// rounded up to full: one failure of a thousand is seen.
#[must_use]
pub fn shares(shares: &[Option<f64>], columns: usize, glyphs: &Glyphs) -> String {
    if columns == 0 || shares.is_empty() {
        return String::new();
    }
    let per = shares.len().div_ceil(columns);
    let steps = glyphs.ramp.len() - 1;
    let lowest = |part: &[Option<f64>]| part.iter().flatten().copied().reduce(f64::min);
    let glyph = |share: f64| {
        let step = if share >= 1.0 { steps } else { (share * (steps - 1) as f64).floor() as usize + 1 };
        glyphs.ramp[step.clamp(1, steps)]
    };
    shares.chunks(per).map(|part| lowest(part).map_or(' ', glyph)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_seen_and_what_failed_is_not_full() {
        assert_eq!(ramp(&[0, 1, 500, 1000], Ramp::Own, &Glyphs::UNICODE), " ▁▄█");
        assert_eq!(ramp(&[0, 1, 4], Ramp::To(8), &Glyphs::ASCII), " .=");
        let line = shares(&[None, Some(0.0), Some(0.5), Some(0.999), Some(1.0)], 5, &Glyphs::UNICODE);
        assert_eq!(line, " ▁▄▇█");
        assert_eq!(shares(&[Some(1.0), Some(0.0), Some(1.0)], 2, &Glyphs::UNICODE), "▁█");
    }
}
