//! Random test data that can be had again: the seed is printed, and PORTCULLIS_SEED sets it.

use std::io::Write as _;

use portcullis_core::random::SecureRandom as _;
use portcullis_net::random::System;
use portcullis_testkit::{Failure, Outcome};
use serde_json::{Map, Value, json};

/// Largest payload, in bytes.
const PAYLOAD: u64 = 4096;

/// SplitMix64: good enough to choose test data, and never for a key.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Outcome<Self> {
        let seed = match std::env::var_os("PORTCULLIS_SEED") {
            Some(seed) => seed
                .to_str()
                .and_then(|seed| seed.parse().ok())
                .ok_or_else(|| Failure::new("PORTCULLIS_SEED is not a number"))?,
            None => {
                let mut bytes = [0; 8];
                System
                    .fill(&mut bytes)
                    .map_err(|error| Failure::new(error.to_string()))?;
                u64::from_le_bytes(bytes)
            }
        };
        writeln!(std::io::stderr(), "seed: PORTCULLIS_SEED={seed}")?;
        Ok(Self(seed))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> usize {
        usize::try_from(self.next() % limit).unwrap_or_default()
    }

    /// 0 to 4096 bytes of anything.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        let length = self.below(PAYLOAD + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Claims of at most 4096 bytes as JSON: nested, with names and texts of any script, and numbers.
    pub(super) fn claims(&mut self) -> Map<String, Value> {
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), "https://as.example.com".into());
        claims.insert("iat".to_owned(), json!(1_700_000_000 + self.below(1 << 30)));
        let size = self.below(PAYLOAD - 512);
        let mut length = 0;
        while length < size {
            let name = self.text();
            let value = self.value(3);
            let added = Value::Object(Map::from_iter([(name.clone(), value.clone())]))
                .to_string()
                .len();
            if length + added > size {
                break;
            }
            length += added;
            claims.insert(name, value);
        }
        claims
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => (self.next() & 1 == 0).into(),
            2 => json!(i64::try_from(self.next() >> 12).unwrap_or_default() - (1 << 51)),
            // Exact in every reader: sixteenths.
            3 => json!(f64::from(u32::try_from(self.next() >> 40).unwrap_or_default()) / 16.0 + 0.5),
            4 => self.text().into(),
            5 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let length = self.below(4);
                Value::Object(
                    (0..length)
                        .map(|_| (self.text(), self.value(depth - 1)))
                        .collect(),
                )
            }
        }
    }

    /// Up to 40 characters, of any plane and with what JSON escapes.
    fn text(&mut self) -> String {
        let length = self.below(41);
        (0..length).map(|_| self.character()).collect()
    }

    fn character(&mut self) -> char {
        let drawn = match self.below(4) {
            0 => self.below(0x20),
            1 => 0x20 + self.below(0x60),
            2 => self.below(0x1_0000),
            _ => self.below(0x11_0000),
        };
        u32::try_from(drawn)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
    }
}
