//! Chance, all of it from one seed.
//!
//! This is splitmix64. It stands in for the operating system's randomness where keys and salts are drawn too, so that a
//! run is the same each time; nothing sealed here is a secret.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// A source of numbers that follow from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Those of `seed`.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another source, so that what one part of the world draws does not change what another draws.
    #[must_use]
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low).saturating_add(1);
        low.saturating_add(self.number().checked_rem(span).unwrap_or_default())
    }

    /// The same for counts and places.
    pub(crate) fn count(&mut self, low: usize, high: usize) -> usize {
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        usize::try_from(self.between(wide(low), wide(high))).unwrap_or(low)
    }

    /// True so many times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.between(0, 999) < per_mille
    }

    /// One of these; `None` where there are none.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let last = from.len().checked_sub(1)?;
        from.get(self.count(0, last))
    }
}

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let [_, _, _, _, a, b, c, d] = self.number().to_be_bytes();
        Ok(u32::from_be_bytes([a, b, c, d]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.number())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let number = self.number().to_be_bytes();
            chunk.iter_mut().zip(number).for_each(|(byte, drawn)| *byte = drawn);
        }
        Ok(())
    }
}

/// A lie, told so that product code draws from the seed; in a simulation there is nothing to protect.
impl TryCryptoRng for Dice {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let draw = |seed| {
            let mut dice = Dice::new(seed);
            (0..8).map(|_| dice.between(0, 999)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn what_is_drawn_lies_between_its_ends() {
        let mut dice = Dice::new(1);
        assert!((0..1000).all(|_| (3..=5).contains(&dice.between(3, 5))));
        assert!((0..1000).all(|_| !dice.chance(0)) && (0..1000).all(|_| dice.chance(1000)));
        assert_eq!(dice.pick::<u8>(&[]), None);
    }
}
