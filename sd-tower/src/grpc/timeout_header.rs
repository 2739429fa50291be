//! The header `grpc-timeout`.

use http::{HeaderName, HeaderValue};
use std::time::Duration;

pub(super) const NAME: HeaderName = HeaderName::from_static("grpc-timeout");

/// At most eight digits, as the [protocol] says.
///
/// [protocol]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
const MOST: u128 = 99_999_999;

/// The time that a header gives; `None` if it is not one.
pub(super) fn parse(value: &HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 60 * 60),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A header that gives this time, in the finest unit that can.
pub(super) fn format(timeout: Duration) -> HeaderValue {
    let units = [
        (timeout.as_nanos(), 'n'),
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
        (u128::from(timeout.as_secs()), 'S'),
        (u128::from(timeout.as_secs() / 60), 'M'),
        (u128::from(timeout.as_secs() / (60 * 60)), 'H'),
    ];
    let fits = units.iter().find(|(number, _)| *number <= MOST);
    let (number, unit) = fits.copied().unwrap_or((MOST, 'H'));
    HeaderValue::try_from(format!("{number}{unit}"))
        .unwrap_or_else(|_| HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_written_in_the_finest_unit_that_can_say_it() {
        for (timeout, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_millis(99), "99000000n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(format(timeout), text);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for (text, timeout) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("00000006n", Some(Duration::from_nanos(6))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("100000000S", None),
            ("１S", None),
        ] {
            let value = HeaderValue::from_bytes(text.as_bytes());
            assert_eq!(value.ok().as_ref().and_then(parse), timeout, "{text}");
        }
    }
}
