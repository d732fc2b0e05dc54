//! Durations and sizes as the file writes them.

use std::time::Duration;

/// What is said of a text that is no duration.
pub(super) const NO_DURATION: &str = "expected a duration such as \"15s\" (units: ms, s, m, h, d)";

/// What is said of a text that is no size.
pub(super) const NO_SIZE: &str = "expected a size such as \"20MB\" (units: B, KB, MB, GB, KiB, MiB, GiB)";

/// Reads a duration: a whole number and its unit, `"500ms"`, `"15s"`,
/// `"5m"`, `"1h"`, `"30d"`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// Reads a size in bytes: a whole number and its unit. `MB` is 1000², `MiB`
/// is 1024².
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KB" | "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

/// A duration as the file would write it, in its largest whole unit.
pub(super) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() != 0 {
        return format!("{}ms", duration.as_millis());
    }
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60)] {
        if seconds != 0 && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, milliseconds) in
            [("500ms", 500), ("15s", 15_000), ("5m", 300_000), ("1h", 3_600_000), ("30d", 2_592_000_000)]
        {
            let duration = duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(milliseconds));
            assert_eq!(show_duration(duration), text);
        }
        for text in
            ["", "15", "s", "-1s", "1.5s", "15 s", "15S", "15sec", " 15s", "99999999999999999999s", "٣s"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration(&format!("{}d", u64::MAX)), None);
    }

    #[test]
    fn sizes_know_1000_from_1024() {
        for (text, bytes) in
            [("20MB", 20_000_000), ("20MiB", 20 << 20), ("1KB", 1000), ("1KiB", 1024), ("7B", 7)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "20", "MB", "20mb", "20M", "1.5MB", "-1MB"] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(size(&format!("{}GB", u64::MAX)), None);
    }
}
