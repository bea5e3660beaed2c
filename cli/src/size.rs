//! Numbers of bytes as people write and read them.

const UNITS: [(&str, u32); 6] = [("", 0), ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50)];

/// Reads `512`, `64MiB`, `64M`, `64m`, `1.5GiB` or `10MB` (decimal, as SI has it).
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size: write bytes or a number with KiB, MiB, GiB, TiB (64MiB)");
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_uppercase();
    let (prefix, decimal) = match unit.strip_suffix("IB") {
        Some(prefix) => (prefix, false),
        None => match unit.strip_suffix('B') {
            Some(prefix) => (prefix, true),
            None => (unit.as_str(), false),
        },
    };
    let (_, shift) = UNITS.into_iter().find(|(name, _)| *name == prefix).ok_or_else(wrong)?;
    let factor = if decimal { 1_000_u64.pow(shift / 10) } else { 1_u64 << shift };
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(factor).ok_or_else(|| format!("'{text}' is too large"));
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * factor as f64;
    if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// `512 B`, `64.0 MiB`, `1.5 GiB`.
pub(crate) fn human(bytes: u64) -> String {
    let index = (bytes.max(1).ilog2() / 10) as usize;
    if index == 0 {
        return format!("{bytes} B");
    }
    // A value that rounds to 1024.0 of its unit reads better as 1.0 of the next.
    let mut index = index.min(UNITS.len() - 1);
    let value = |index: usize| bytes as f64 / (1_u64 << (10 * index)) as f64;
    if value(index) >= 1_023.95 && index + 1 < UNITS.len() {
        index += 1;
    }
    let unit = UNITS.get(index).map_or("", |(name, _)| *name);
    format!("{:.1} {unit}iB", value(index))
}

/// The number, or what people read.
pub(crate) fn show(bytes: u64, as_human: bool) -> String {
    if as_human { human(bytes) } else { bytes.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64MiB", 64 << 20),
            ("64M", 64 << 20),
            ("64 m", 64 << 20),
            ("1.5KiB", 1_536),
            ("10MB", 10_000_000),
            ("1kB", 1_000),
            ("3b", 3),
            ("2G", 2 << 30),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1X", "1.2.3M", "64MiBs", "99999999999999999999", "20000P", "1e3"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (64 << 20, "64.0 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1_536 << 20, "1.5 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
