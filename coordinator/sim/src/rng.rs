//! The only source of randomness: SplitMix64, from the seed. The same seed draws the same run.

/// A pseudo-random generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n` - 1; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The bias of the multiplication is far below anything that is counted here.
        ((u128::from(self.draw()) * u128::from(n)) >> 64) as u64
    }

    /// Both ends included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// Each octave between `from` and `to` is as likely as any other.
    pub fn octaves(&mut self, from: u64, to: u64) -> u64 {
        let octaves = u64::from((to / from.max(1)).max(1).ilog2());
        let low = from << self.between(0, octaves);
        self.between(low, (low * 2).min(to).max(low))
    }

    /// Never if `n` is 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    pub fn per_mille(&mut self, n: u64) -> bool {
        n > 0 && self.below(1000) < n
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}
