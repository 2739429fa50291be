//! A set of slots.

/// Slots of a cycle, of which the earliest is found quickly: bits, and for each word of bits a bit
/// in the level above that says whether it has any.
pub(super) struct SlotSet {
    levels: Vec<Vec<u64>>,
}

impl SlotSet {
    /// An empty set for slots below `end`.
    pub(super) fn new(end: usize) -> Self {
        let mut levels = Vec::new();
        let mut bits = end;
        while bits > 1 || levels.is_empty() {
            bits = bits.div_ceil(64);
            levels.push(vec![0; bits]);
        }
        Self { levels }
    }

    pub(super) fn insert(&mut self, slot: usize) {
        let mut bit = slot;
        for level in &mut self.levels {
            level[bit / 64] |= 1 << (bit % 64);
            bit /= 64;
        }
    }

    pub(super) fn remove(&mut self, slot: usize) {
        let mut bit = slot;
        for level in &mut self.levels {
            level[bit / 64] &= !(1 << (bit % 64));
            if level[bit / 64] != 0 {
                return;
            }
            bit /= 64;
        }
    }

    /// The earliest slot. The set must not be empty.
    pub(super) fn first(&self) -> usize {
        let inside =
            |word: usize, level: &Vec<u64>| word * 64 + level[word].trailing_zeros() as usize;
        self.levels.iter().rev().fold(0, inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn the_first_is_the_earliest(
            (end, slots) in (1..10_000_usize).prop_flat_map(|end| (Just(end), vec(0..end, 1..100)))
        ) {
            let mut model = BTreeSet::new();
            let mut set = SlotSet::new(end);
            for slot in slots {
                if model.remove(&slot) {
                    set.remove(slot);
                } else {
                    model.insert(slot);
                    set.insert(slot);
                }
                if let Some(first) = model.first() {
                    prop_assert_eq!(set.first(), *first);
                }
            }
            while let Some(first) = model.pop_first() {
                prop_assert_eq!(set.first(), first);
                set.remove(first);
            }
        }
    }
}
