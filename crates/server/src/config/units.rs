//! Durations and sizes in text: `"90s"`, `"4MiB"`.

use portcullis_core::time::Lifetime;

/// Reads `"90s"`, `"5m"`, `"12h"` or `"30d"`: a positive whole number and one unit.
pub(super) fn duration(text: &str) -> Option<Lifetime> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Lifetime::from_secs(number.checked_mul(seconds)?))
}

/// Reads `"512B"`, `"64KiB"` or `"4MiB"`: a positive whole number and one unit. The result is in bytes.
pub(super) fn size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    usize::try_from(number.checked_mul(bytes)?).ok()
}

/// As [`duration`] reads it, in the largest unit without a rest.
pub(super) fn duration_text(length: Lifetime) -> String {
    in_units(
        length.as_secs(),
        &[("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)],
    )
}

/// As [`size`] reads it, in the largest unit without a rest.
pub(super) fn size_text(bytes: usize) -> String {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    in_units(bytes, &[("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)])
}

fn in_units(number: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().find(|(_, size)| number.is_multiple_of(*size));
    unit.map_or_else(
        || number.to_string(),
        |(unit, size)| format!("{}{unit}", number / size),
    )
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    (number > 0).then_some((number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(duration("90s"), Some(Lifetime::from_secs(90)));
        assert_eq!(duration("2d"), Some(Lifetime::from_days(2)));
        for bad in [
            "",
            "90",
            "s",
            "-1s",
            "1.5h",
            "0s",
            "1 h",
            "1w",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_need_a_number_and_a_unit() {
        assert_eq!(size("4MiB"), Some(4 << 20));
        for bad in ["", "4", "4MB", "0B", "18446744073709551615MiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
