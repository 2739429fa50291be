//! The free slots of a table, and the order in which an endpoint prefers them.

/// The slots that have no owner yet.
pub(super) struct FreeSlots {
    count: u32,
    size: u32,
    /// A bit for each slot; the set ones are taken.
    taken: Box<[u64]>,
    /// How many free slots are few.
    few_count: u32,
    /// The free slots, once they are few.
    few: Vec<u32>,
}

/// The order in which an endpoint prefers the slots: from one slot on in steps of one length, around
/// the table. As the size is a prime, the steps reach every slot.
pub(super) struct Preferences {
    next: u32,
    step: u32,
}

impl Preferences {
    /// The preferences of an endpoint with this hash, among `size` slots.
    pub(super) fn new(hash: u64, size: u32) -> Self {
        let part_of = |half: u64, size: u32| ((half * u64::from(size)) >> 32) as u32;
        Self {
            next: part_of(hash & u64::from(u32::MAX), size),
            step: 1 + part_of(hash >> 32, size - 1),
        }
    }
}

impl FreeSlots {
    /// All slots of a table of this size, which is a prime of at most 31 bits.
    pub(super) fn new(size: u32) -> Self {
        let mut taken: Box<[u64]> = vec![0; size.div_ceil(64) as usize].into();
        if let Some(last) = taken.last_mut() {
            // There are no slots beyond the end.
            *last = u64::MAX << (size % 64);
        }
        Self {
            count: size,
            size,
            taken,
            few_count: size.isqrt(),
            few: Vec::new(),
        }
    }

    /// Takes the slot that is preferred of those that are free. `None` if none is free.
    #[inline]
    pub(super) fn take(&mut self, preferences: &mut Preferences) -> Option<u32> {
        if self.count > self.few_count {
            self.count -= 1;
            Some(self.step_to_free(preferences))
        } else {
            self.take_of_few(preferences)
        }
    }

    #[inline]
    fn step_to_free(&mut self, preferences: &mut Preferences) -> u32 {
        let mut slot = preferences.next;
        loop {
            let after = self.after(slot, preferences.step);
            let word = &mut self.taken[(slot / 64) as usize];
            let bit = 1 << (slot % 64);
            if *word & bit == 0 {
                *word |= bit;
                preferences.next = after;
                return slot;
            }
            slot = after;
        }
    }

    /// When few are free, it is quicker to compare all of them than to step until one is met: that
    /// would take most of the time of all turns.
    #[cold]
    fn take_of_few(&mut self, preferences: &mut Preferences) -> Option<u32> {
        if self.few.is_empty() && self.count > 0 {
            self.few = (0..self.size)
                .step_by(64)
                .zip(&self.taken)
                .flat_map(free_bits)
                .collect();
        }
        let first = self.first_of_few(preferences)?;
        let slot = self.few.swap_remove(first);
        self.count -= 1;
        preferences.next = self.after(slot, preferences.step);
        Some(slot)
    }

    /// The index of the one of the few slots that comes first.
    fn first_of_few(&self, preferences: &Preferences) -> Option<usize> {
        // A slot that is `d` slots after the next is reached in `d / step` steps, modulo the size.
        // As a fraction of the size, in units of 2^-64, the integers wrap around where the fraction
        // does. The error is less than `size` units, too small to change the order.
        let inverse = inverse(preferences.step, self.size);
        let fraction = ((u128::from(inverse) << 64) / u128::from(self.size)) as u64;
        let steps = |slot: u32| {
            let distance = u64::from(slot).wrapping_sub(u64::from(preferences.next));
            distance.wrapping_mul(fraction)
        };
        (0..self.few.len()).min_by_key(|index| steps(self.few[*index]))
    }

    #[inline]
    fn after(&self, slot: u32, step: u32) -> u32 {
        // Around the end, or not.
        slot.checked_sub(self.size - step).unwrap_or(slot + step)
    }
}

/// The slots that are free in the word of bits that begins with slot `first`.
fn free_bits((first, taken): (u32, &u64)) -> impl Iterator<Item = u32> {
    let mut free = !taken;
    std::iter::from_fn(move || {
        let slot = (free > 0).then(|| first + free.trailing_zeros())?;
        free &= free - 1;
        Some(slot)
    })
}

/// The number that gives 1 modulo `prime` if multiplied by `number`, by Euclid's algorithm.
fn inverse(number: u32, prime: u32) -> u32 {
    let (mut rest, mut next_rest) = (i64::from(prime), i64::from(number));
    let (mut factor, mut next_factor) = (0, 1);
    while next_rest > 0 {
        let quotient = rest / next_rest;
        (rest, next_rest) = (next_rest, rest - quotient * next_rest);
        (factor, next_factor) = (next_factor, factor - quotient * next_factor);
    }
    factor.rem_euclid(i64::from(prime)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    #[test]
    fn an_endpoint_prefers_every_slot_once() {
        for size in [2, 3, 17, 251] {
            let mut free = FreeSlots::new(size);
            let mut preferences = Preferences::new(0x9E37_79B9_7F4A_7C15, size);
            let mut slots: Vec<_> = std::iter::from_fn(|| free.take(&mut preferences)).collect();
            slots.sort_unstable();
            assert!(slots.into_iter().eq(0..size));
        }
    }

    proptest! {
        /// However it is found.
        #[test]
        fn the_preferred_slot_of_those_that_are_free_is_taken(
            size in prop::sample::select(vec![2_u32, 3, 17, 251, 4093]),
            hashes in vec(any::<u64>(), 1..10)
        ) {
            let mut free = FreeSlots::new(size);
            let mut preferences: Vec<_> = hashes.iter().map(|hash| Preferences::new(*hash, size)).collect();
            let mut model: Vec<_> = preferences.iter().map(|one| (one.next, one.step)).collect();
            let mut taken = vec![false; size as usize];
            for turn in (0..size as usize).map(|turn| turn % hashes.len()) {
                let (slot, step) = &mut model[turn];
                while taken[*slot as usize] {
                    *slot = (*slot + *step) % size;
                }
                taken[*slot as usize] = true;
                prop_assert_eq!(free.take(&mut preferences[turn]), Some(*slot));
            }
            prop_assert_eq!(free.take(&mut preferences[0]), None);
        }
    }
}
