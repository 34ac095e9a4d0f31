//! The few DER values that modules and services speak: curve names, points, ECDSA signatures.

use portcullis_core::jose::jwk::EcCurve;

/// `edwards25519` as a PrintableString (PKCS #11 v3.0 §2.3.1).
pub(super) const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";
/// id-Ed25519 (RFC 8410 §3).
pub(super) const ED25519_OID: &[u8] = b"\x06\x03\x2b\x65\x70";

const INTEGER: u8 = 2;
const OCTET_STRING: u8 = 4;
const SEQUENCE: u8 = 0x30;

/// The object identifier of a curve (RFC 5480 §2.1.1.1).
pub(super) const fn curve(curve: EcCurve) -> &'static [u8] {
    match curve {
        EcCurve::P256 => b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
        EcCurve::P384 => b"\x06\x05\x2b\x81\x04\x00\x22",
        EcCurve::P521 => b"\x06\x05\x2b\x81\x04\x00\x23",
    }
}

/// The content of an OCTET STRING that is all there is.
pub(super) fn octet_string(text: &[u8]) -> Option<&[u8]> {
    let (content, rest) = take(text, OCTET_STRING)?;
    rest.is_empty().then_some(content)
}

/// An OCTET STRING.
pub(super) fn wrap_octet_string(content: &[u8]) -> Vec<u8> {
    wrap(OCTET_STRING, content)
}

/// A value of this tag; a length of 64 KiB and more is cut, and nothing here is as long.
pub(in crate::custody) fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match (u8::try_from(content.len()), u16::try_from(content.len())) {
        (Ok(short @ 0..=0x7f), _) => out.push(short),
        (Ok(length), _) => out.extend([0x81, length]),
        (_, length) => {
            out.push(0x82);
            out.extend(length.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(content);
    out
}

/// r ‖ s, each of `length` bytes (RFC 7518 §3.4), of an ECDSA signature in DER (RFC 3279 §2.2.3).
pub(super) fn signature(text: &[u8], length: usize) -> Option<Vec<u8>> {
    let (pair, rest) = take(text, SEQUENCE)?;
    let (r, after) = take(pair, INTEGER)?;
    let (s, end) = take(after, INTEGER)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(2 * length);
    for number in [r, s] {
        let digits = number.strip_prefix(&[0]).unwrap_or(number);
        out.resize(out.len() + length.checked_sub(digits.len())?, 0);
        out.extend_from_slice(digits);
    }
    Some(out)
}

/// One value with this tag: its content, and what follows.
fn take(text: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, text) = text.split_first()?;
    let (&first, text) = text.split_first()?;
    if found != tag {
        return None;
    }
    let (length, text) = match first {
        short @ 0..=0x7f => (usize::from(short), text),
        0x81 => {
            let (&length, text) = text.split_first()?;
            (usize::from(length), text)
        }
        0x82 => {
            let (length, text) = text.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), text)
        }
        _ => return None,
    };
    text.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_padded_to_the_length_of_the_curve() {
        // r has a leading zero for its sign, s is short.
        let text = [0x30, 0x08, 2, 3, 0, 0x80, 1, 2, 1, 7];
        assert_eq!(signature(&text, 4), Some(vec![0, 0, 0x80, 1, 0, 0, 0, 7]));
        assert_eq!(signature(&text, 1), None, "r is longer than the curve");
        assert_eq!(signature(&text[..9], 4), None, "cut off");
        let mut longer = text.to_vec();
        longer.push(0);
        assert_eq!(signature(&longer, 4), None, "something follows");
    }

    #[test]
    fn long_lengths_are_written_and_read() {
        for length in [0, 127, 128, 255, 256, 65_535] {
            let content = vec![7; length];
            let wrapped = wrap_octet_string(&content);
            assert_eq!(octet_string(&wrapped), Some(content.as_slice()), "{length}");
        }
    }
}
