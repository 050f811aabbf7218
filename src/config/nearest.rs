//! "Did you mean …": the known word nearest to a mistyped one.
//!
//! It measures letters only and knows nothing of what the words stand for.
//!
//! Invariant: the answer is always one of the candidates, and never a word that shares less
//! than about two thirds of its letters with what was written.

/// The candidate with the fewest changed, missing, extra or swapped letters, if it is near.
///
/// Letter case, and `-` written for `_`, cost nothing. The first of equally near ones wins.
pub(super) fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer than any name there is; also bounds the work below.
    const LENGTH_MAX: usize = 40;
    let written: Vec<char> = written.chars().take(LENGTH_MAX + 1).map(plain).collect();
    if written.is_empty() || written.len() > LENGTH_MAX {
        return None;
    }
    candidates
        .map(|candidate| (distance(&written, &candidate.chars().map(plain).collect::<Vec<_>>()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(written.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn plain(character: char) -> char {
    if character == '-' { '_' } else { character.to_ascii_lowercase() }
}

/// Edit distance in which swapping two neighbours counts once (optimal string alignment).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.iter().enumerate() {
        let mut current = vec![row + 1; right.len() + 1];
        for (column, r) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(l != r);
            let mut least = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *l == right[column - 1] && left[row - 1] == *r;
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            current[column + 1] = least;
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words = ["listen", "socket", "max_body_bytes", "days"];
        let near = |written| nearest(written, words.into_iter());
        assert_eq!(near("listn"), Some("listen"));
        assert_eq!(near("lisetn"), Some("listen"));
        assert_eq!(near("Max-Body-Bytes"), Some("max_body_bytes"));
        assert_eq!(near("max_body_byte"), Some("max_body_bytes"));
        assert_eq!(near("day"), Some("days"));
        assert_eq!(near("zzzz"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"l".repeat(1000)), None);
    }
}
