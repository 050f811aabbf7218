//! A small seeded generator, so that a failing run can be repeated with `SEED=`.
//!
//! Not for secrets. SplitMix64: one multiplication chain, full period, no state to get wrong.

#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for one task, so that the order in which tasks run does not change what they draw.
    pub(crate) fn fork(&self, label: u64) -> Self {
        let mut child = Self(self.0 ^ label.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        child.next();
        child
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `low..=high`; the modulo bias of 2⁻⁴⁰ does not matter here.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.between(0, 99) < percent
    }
}
