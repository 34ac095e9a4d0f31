//! One text per JSON value: RFC 8785 (JCS), and a reader that keeps numbers as they were sent.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::limits;

/// A value without a canonical text, or a text that cannot be read exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotExact {
    /// When read: an integer beyond 64 bits. When written: one of 2^53 or beyond, since a reader that has only
    /// doubles may take it for its neighbour (RFC 8785 §3.2.2.3, RFC 7493 §2.2).
    #[error("an integer is too large to be exact everywhere; send it as a string")]
    Number,
    /// Deeper than [`limits::JSON_DEPTH`].
    #[error("the value is nested deeper than {limit} levels", limit = limits::JSON_DEPTH)]
    TooDeep,
    /// Not one JSON text, or a member appears twice in an object.
    #[error("not one strict JSON text")]
    NotJson,
}

/// Reads one JSON text: no member twice, bounded depth, and no integer that would come out as another number.
///
/// Fractions are read as the nearest double, as every JSON reader should; serde_json does so with its feature
/// `float_roundtrip`, without which some come out as a neighbour and the two sides have different digests.
///
/// # Errors
/// [`NotExact`].
pub fn read(text: &[u8]) -> Result<Value, NotExact> {
    let text = std::str::from_utf8(text).map_err(|_| NotExact::NotJson)?;
    let mut seen = Seen::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let seed = Strict {
        depth: limits::JSON_DEPTH,
        seen: &mut seen,
    };
    let value = seed.deserialize(&mut json);
    let value = value.and_then(|value| json.end().map(|()| value));
    match value {
        Err(_) if seen.too_deep => Err(NotExact::TooDeep),
        Err(_) => Err(NotExact::NotJson),
        Ok(value) => {
            if seen.large {
                integers_fit(text)?;
            }
            Ok(value)
        }
    }
}

/// The canonical text (RFC 8785 §3.2): no white space, members in the order of their UTF-16 code units, numbers as
/// ECMAScript writes them.
///
/// # Errors
/// [`NotExact::Number`] and [`NotExact::TooDeep`].
pub fn write(value: &Value) -> Result<Vec<u8>, NotExact> {
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, value, limits::JSON_DEPTH)?;
    Ok(out)
}

/// Appends the canonical text of a string (RFC 8785 §3.2.2.2), which is how serde_json writes one: the two-letter
/// escapes, `\u00xx` in lower case for other controls, everything else as it is.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    // Writing a string into memory has no way to fail.
    let written = serde_json::to_writer(&mut *out, text);
    debug_assert!(written.is_ok(), "a string has a JSON text");
}

fn write_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), NotExact> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number)?,
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            let depth = depth.checked_sub(1).ok_or(NotExact::TooDeep)?;
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item, depth)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let depth = depth.checked_sub(1).ok_or(NotExact::TooDeep)?;
            out.push(b'{');
            // RFC 8785 §3.2.3: by UTF-16 code units, which is not the order of UTF-8 bytes beyond the BMP.
            let ordered: BTreeMap<Utf16<'_>, &Value> =
                members.iter().map(|(name, value)| (Utf16(name), value)).collect();
            for (index, (Utf16(name), value)) in ordered.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(out, name);
                out.push(b':');
                write_value(out, value, depth)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// A name, in the order of its UTF-16 code units.
#[derive(PartialEq, Eq)]
struct Utf16<'n>(&'n str);

impl Ord for Utf16<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.encode_utf16().cmp(other.0.encode_utf16())
    }
}

impl PartialOrd for Utf16<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// 2^53: up to here every integer is a double, and no neighbour rounds to it.
const SAFE: u64 = 1 << 53;

fn write_number(out: &mut Vec<u8>, number: &Number) -> Result<(), NotExact> {
    let integer = number
        .as_i64()
        .map(i128::from)
        .or(number.as_u64().map(i128::from));
    match integer {
        Some(integer) if integer.unsigned_abs() < u128::from(SAFE) => {
            // Writing into memory has no way to fail.
            write!(out, "{integer}").map_err(|_| NotExact::Number)
        }
        // At 2^53 and beyond the text is ambiguous to a reader of doubles: 2^53 + 1 reads as 2^53 there.
        Some(_) => Err(NotExact::Number),
        None => write_double(out, number.as_f64().ok_or(NotExact::Number)?),
    }
}

/// ECMAScript `Number::toString` (ECMA-262 §6.1.6.1.20), as RFC 8785 §3.2.2.3 asks.
fn write_double(out: &mut Vec<u8>, double: f64) -> Result<(), NotExact> {
    if !double.is_finite() {
        return Err(NotExact::Number);
    }
    if double == 0.0 {
        out.push(b'0');
        return Ok(());
    }
    if double < 0.0 {
        out.push(b'-');
    }
    let (digits, point) = shortest(double.abs()).ok_or(NotExact::Number)?;
    let count = i32::try_from(digits.len()).map_err(|_| NotExact::Number)?;
    let exponent = point - 1;
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let split = |at: i32| {
        digits
            .split_at_checked(usize::try_from(at).unwrap_or(0))
            .ok_or(NotExact::Number)
    };
    let text = if count <= point && point <= 21 {
        format!("{digits}{}", zeros(point - count))
    } else if 0 < point && point <= 21 {
        let (whole, fraction) = split(point)?;
        format!("{whole}.{fraction}")
    } else if -6 < point && point <= 0 {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let (first, rest) = split(1)?;
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{first}{dot}{rest}e{exponent:+}")
    };
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The shortest digits that read back as this positive double, and how many of them are before the decimal point.
///
/// From serde_json's text, which has those digits as ECMAScript wants them: the closest, and of two as close the even
/// one. The standard library breaks that tie the other way.
fn shortest(double: f64) -> Option<(String, i32)> {
    let text = Number::from_f64(double)?.to_string();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let leading = i32::try_from(all.len() - significant.len()).ok()?;
    let point = i32::try_from(whole.len()).ok()? - leading + exponent.parse::<i32>().ok()?;
    Some((significant.trim_end_matches('0').to_owned(), point))
}

/// serde_json reads an integer beyond 64 bits as the nearest double. The text is known to be JSON.
fn integers_fit(text: &str) -> Result<(), NotExact> {
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'"' => rest = after_string(after),
            b'-' | b'0'..=b'9' => {
                let end = rest
                    .iter()
                    .position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
                    .unwrap_or(rest.len());
                let (number, after) = rest.split_at_checked(end).ok_or(NotExact::NotJson)?;
                let integer = number.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-'));
                if integer && number.len() > 18 && !fits(number) {
                    return Err(NotExact::Number);
                }
                rest = after;
            }
            _ => rest = after,
        }
    }
    Ok(())
}

/// What follows a string that has begun.
fn after_string(mut rest: &[u8]) -> &[u8] {
    let mut escaped = false;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => break,
            _ => {}
        }
    }
    rest
}

fn fits(integer: &[u8]) -> bool {
    std::str::from_utf8(integer).is_ok_and(|text| text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok())
}

/// What the walk came across.
#[derive(Default)]
struct Seen {
    too_deep: bool,
    /// A double of 2^63 or beyond: perhaps the rest of an integer.
    large: bool,
}

/// 2^63.
const LARGE: f64 = 9_223_372_036_854_775_808.0;

struct Strict<'s> {
    depth: usize,
    seen: &'s mut Seen,
}

impl Strict<'_> {
    fn inside<E: serde::de::Error>(&mut self) -> Result<usize, E> {
        self.depth.checked_sub(1).ok_or_else(|| {
            self.seen.too_deep = true;
            E::custom("too deep")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        self.seen.large |= value.abs() >= LARGE;
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.inside()?;
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Strict {
            depth,
            seen: self.seen,
        })? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        let depth = self.inside()?;
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Strict {
                depth,
                seen: self.seen,
            })?;
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom("a member appears twice"));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> String {
        String::from_utf8(write(value).unwrap()).unwrap()
    }

    #[test]
    fn the_example_of_rfc_8785_section_3_2_2() {
        let value = read(
            r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                "literals": [null, true, false]}"#
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(
            text(&value),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }

    #[test]
    fn members_are_in_the_order_of_rfc_8785_section_3_2_3() {
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control",
            "\u{f6}": "Latin Small Letter O With Diaeresis",
        });
        assert_eq!(
            text(&value),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\
             \"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        );
    }

    #[test]
    fn doubles_of_rfc_8785_appendix_b() {
        for (bits, expected) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let mut out = Vec::new();
            write_double(&mut out, f64::from_bits(bits)).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{bits:x}");
        }
    }

    #[test]
    fn integers_up_to_the_last_safe_one_and_no_further() {
        assert_eq!(text(&json!(9_007_199_254_740_991_u64)), "9007199254740991");
        assert_eq!(text(&json!(-9_007_199_254_740_991_i64)), "-9007199254740991");
        for beyond in [
            json!(1_u64 << 53),
            json!(-(1_i64 << 53)),
            json!((1_u64 << 53) + 1),
            json!(u64::MAX),
        ] {
            assert_eq!(write(&beyond), Err(NotExact::Number), "{beyond}");
        }
        for (sent, verdict) in [
            ("9007199254740993", Ok(json!(9_007_199_254_740_993_u64))),
            ("[18446744073709551615]", Ok(json!([u64::MAX]))),
            ("[18446744073709551616]", Err(NotExact::Number)),
            ("[-9223372036854775808]", Ok(json!([i64::MIN]))),
            ("[-9223372036854775809]", Err(NotExact::Number)),
            ("-123456789012345678901234567890", Err(NotExact::Number)),
            (
                r#"{"12345678901234567890123":"12345678901234567890123"}"#,
                Ok(json!({"12345678901234567890123": "12345678901234567890123"})),
            ),
            (
                r#"["\"12345678901234567890123"]"#,
                Ok(json!(["\"12345678901234567890123"])),
            ),
            ("0.12345678901234567890123", Ok(json!(0.123_456_789_012_345_68))),
            ("1e30", Ok(json!(1e30))),
        ] {
            assert_eq!(read(sent.as_bytes()), verdict, "{sent}");
        }
    }

    #[test]
    fn one_text_one_value() {
        for bad in [
            "",
            "{",
            "1 2",
            r#"{"a":1,"a":1}"#,
            r#"[{"a":1,"\u0061":2}]"#,
            "\u{feff}1",
            "nan",
        ] {
            assert_eq!(read(bad.as_bytes()), Err(NotExact::NotJson), "{bad:?}");
        }
        assert_eq!(read(b"\xff"), Err(NotExact::NotJson));
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let at = read(nested(limits::JSON_DEPTH).as_bytes()).unwrap();
        assert_eq!(text(&at), nested(limits::JSON_DEPTH));
        assert_eq!(
            read(nested(limits::JSON_DEPTH + 1).as_bytes()),
            Err(NotExact::TooDeep)
        );
        assert_eq!(write(&json!([at])), Err(NotExact::TooDeep));
    }
}
