//! The only reader of the random number generator. Everybody else is handed a [`Random`], so that
//! ids, nonces and jitter repeat in tests.

use std::sync::{Arc, Mutex, PoisonError};

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

    /// 128 random bits.
    #[must_use]
    pub fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// A number in `[0, 1)`.
    #[must_use]
    pub fn unit(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
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
    fn seeds_repeat_and_units_stay_in_range() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        assert_eq!(a.bits(), b.bits());
        for _ in 0..1000 {
            let unit = Random::Os.unit();
            assert!((0.0..1.0).contains(&unit));
        }
    }
}
