//! Values of extended attributes as text, the way `getfattr` and `setfattr` have them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Encoding {
    /// In quotation marks.
    Text,
    /// In hexadecimal digits after 0x.
    Hex,
    /// In base64 after 0s.
    Base64,
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A value as text; without an encoding that which shows it whole.
pub(crate) fn encode(value: &[u8], encoding: Option<Encoding>) -> String {
    let text = String::from_utf8_lossy(value);
    let shows = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_)) && !text.contains(char::is_control);
    let encoding = encoding.unwrap_or(if shows(&text) { Encoding::Text } else { Encoding::Base64 });
    match encoding {
        Encoding::Text => format!("\"{text}\""),
        Encoding::Hex => value.iter().fold("0x".to_owned(), |mut text, byte| {
            // Writing to a string can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        }),
        Encoding::Base64 => value.chunks(3).fold("0s".to_owned(), |mut text, three| {
            let bits =
                (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(three.get(at).copied().unwrap_or(0)));
            for place in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
                text.push(if place <= three.len() { char::from(digit) } else { '=' });
            }
            text
        }),
    }
}

/// Reads a value: after `0x` hexadecimal digits, after `0s` base64, else text, perhaps in quotation marks.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, String> {
    if let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Ok(quoted.as_bytes().to_vec());
    }
    let after = |prefix: &str| {
        let (start, rest) = text.split_at_checked(prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then_some(rest)
    };
    if let Some(digits) = after("0x") {
        return hexadecimal(digits.as_bytes())
            .ok_or_else(|| format!("'{text}' has something else than pairs of hexadecimal digits after 0x"));
    }
    if let Some(digits) = after("0s") {
        return base64(digits.as_bytes()).ok_or_else(|| format!("'{text}' has no base64 after 0s"));
    }
    Ok(text.as_bytes().to_vec())
}

fn hexadecimal(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

fn base64(digits: &[u8]) -> Option<Vec<u8>> {
    let kept = digits.iter().rev().skip_while(|digit| **digit == b'=').count();
    if !digits.len().is_multiple_of(4) || digits.len() - kept > 2 {
        return None;
    }
    let mut value = Vec::with_capacity(digits.len() / 4 * 3);
    for four in digits.get(..kept)?.chunks(4) {
        let bits = four.iter().try_fold(0_u32, |bits, digit| {
            let six = DIGITS.iter().position(|known| known == digit)?;
            Some(bits << 6 | u32::try_from(six).ok()?)
        })?;
        let bytes = (bits << (6 * (4 - four.len()))).to_be_bytes();
        value.extend_from_slice(bytes.get(1..four.len())?);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_in_every_encoding() {
        for length in 0..=9_u8 {
            let value: Vec<u8> = (0..length).map(|at| at.wrapping_mul(0x6b).wrapping_add(0xf0)).collect();
            for encoding in [Encoding::Hex, Encoding::Base64] {
                let text = encode(&value, Some(encoding));
                assert_eq!(decode(&text), Ok(value.clone()), "{text}");
            }
        }
        for (value, hex, base64) in [
            ("f", "0x66", "0sZg=="),
            ("fo", "0x666f", "0sZm8="),
            ("foo", "0x666f6f", "0sZm9v"),
            ("", "0x", "0s"),
        ] {
            assert_eq!(encode(value.as_bytes(), Some(Encoding::Hex)), hex);
            assert_eq!(encode(value.as_bytes(), Some(Encoding::Base64)), base64);
            assert_eq!(encode(value.as_bytes(), None), format!("\"{value}\""));
        }
        assert_eq!(encode(&[0xff], None), "0s/w==");
        assert_eq!(encode(b"a\nb", None), "0sYQpi", "a value does not look like several lines");
    }

    #[test]
    fn values_are_read_as_they_are_typed() {
        for (text, value) in [
            ("plain", &b"plain"[..]),
            ("\"in \"marks\"", b"in \"marks"),
            ("0XfF", &[0xff]),
            ("0S/w==", &[0xff]),
            ("0", b"0"),
            ("\"", b"\""),
            ("ü", "ü".as_bytes()),
        ] {
            assert_eq!(decode(text), Ok(value.to_vec()), "{text}");
        }
        for wrong in ["0x1", "0xgg", "0sA", "0sA===", "0s====", "0sA=AA", "0s+*AA"] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }
}
