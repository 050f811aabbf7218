//! The only reader of the random number generator. Everybody else is handed a [`Random`], so that
//! ids, nonces and jitter repeat in tests.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are asked of the operating system at once, for ids and jitter.
const AHEAD: usize = 512;

thread_local! {
    /// What this thread asked for and has not used, at its end. Each event takes some: that would be a call of the system each.
    static LEFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where chance comes from.
#[derive(Clone, Debug)]
pub enum Random {
    /// The operating system.
    Os,
    /// A sequence that repeats for the same seed; for tests only.
    Seeded(Arc<Mutex<u64>>),
}

impl Random {
    /// A sequence that repeats for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(Mutex::new(seed)))
    }

    /// Fills the buffer.
    ///
    /// # Panics
    /// When the operating system has no random numbers: there is no safe way on without keys and
    /// ids that nobody can guess.
    pub fn fill(&self, buffer: &mut [u8]) {
        match self {
            #[expect(clippy::expect_used, clippy::disallowed_methods, reason = "see Panics; the one place")]
            Self::Os => getrandom::fill(buffer).expect("the operating system gives random numbers"),
            Self::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in buffer.chunks_mut(8) {
                    let bytes = split_mix(&mut state).to_le_bytes();
                    chunk.copy_from_slice(&bytes[..chunk.len()]);
                }
            }
        }
    }

    /// 128 random bits. They may have lain in memory for a while: not for keys.
    #[must_use]
    pub fn bits(&self) -> u128 {
        u128::from_le_bytes(self.some())
    }

    /// A number in `[0, 1)`.
    #[must_use]
    pub fn unit(&self) -> f64 {
        f64::from(u32::from_le_bytes(self.some())) / (f64::from(u32::MAX) + 1.0)
    }

    fn some<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match self {
            Self::Os => LEFT.with_borrow_mut(|left| {
                if left.len() < N {
                    left.resize(AHEAD, 0);
                    self.fill(left);
                }
                bytes.copy_from_slice(&left[left.len() - N..]);
                left.truncate(left.len() - N);
            }),
            Self::Seeded(_) => self.fill(&mut bytes),
        }
        bytes
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_twice() {
        let all: Vec<u128> = (0..20)
            .flat_map(|_| std::thread::spawn(|| [(); 100].map(|()| Random::Os.bits())).join().unwrap())
            .collect();
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
    }

    #[test]
    fn seeds_repeat_and_units_stay_in_range() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        assert_eq!(a.bits(), b.bits());
        for _ in 0..1000 {
            let unit = Random::Os.unit();
            assert!((0.0..1.0).contains(&unit));
        }
    }
}
