//! The entries that are followed: instances as JSON, about a hundred bytes each.

use sd_core::{Bytes, Codec, DefaultCodec, Instance, Key};

/// The services that are followed, one below the other: `/bench/000/`, `/bench/001/` ...
pub(super) fn prefix(service: usize) -> String {
    format!("/bench/{service:03}/")
}

/// The key of an instance of the first service.
pub(super) fn key(n: usize) -> String {
    format!("{}{n:06}", prefix(0))
}

/// The key of the instance whose weight is a mark: who sees another weight there has seen all that was put before.
pub(super) fn mark_key(service: usize) -> String {
    format!("{}mark", prefix(service))
}

/// The value of an instance. Another `round` is another value, and its mark; that of round 0 has none, as a
/// weight of one is not written.
pub(super) fn value(n: usize, round: u32) -> Bytes {
    let [_, a, b, c] = (n as u32).to_be_bytes();
    let address = format!("10.{a}.{b}.{c}:8080");
    let key = Key::new(key(n)).expect("a key");
    let instance = Instance::new(key, address)
        .with_weight(1 + round)
        .with_zone("zone-b")
        .with_metadata("version", "v1.4.2")
        .with_metadata("build", format!("{n:06}"));
    DefaultCodec.encode(&instance).expect("it can be written")
}

/// The mark in a value of [`value`], found without reading the rest.
pub(super) fn mark(value: &[u8]) -> Option<u32> {
    const WEIGHT: &[u8] = br#""weight":"#;
    let begin = value.windows(WEIGHT.len()).position(|it| it == WEIGHT)? + WEIGHT.len();
    let digits = value[begin..].iter().take_while(|it| it.is_ascii_digit());
    let weight = digits.fold(0_u32, |sum, digit| {
        sum.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))
    });
    weight.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::Entry;

    #[test]
    fn a_value_is_about_a_hundred_bytes_and_its_mark_is_its_weight() {
        for (n, round) in [(0, 2), (70_000, 1), (3, 12_345)] {
            let value = value(n, round);
            assert!((80..=130).contains(&value.len()), "{value:?}");
            assert_eq!(mark(&value), Some(round), "{value:?}");
            let entry = Entry::new(Key::new(key(n)).unwrap(), value);
            let decoded = DefaultCodec.decode(&entry).unwrap();
            assert_eq!(decoded.instances()[0].weight(), 1 + round);
        }
        assert_eq!(mark(&value(0, 0)), None);
    }
}
