//! HTTP/2 as no library writes it (RFC 9113): frames by hand, header fields as literals without a Huffman code (RFC 7541 §6.2.2).

use std::time::Duration;

use portcullis_testkit::{Failure, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With an answer of this status.
    Answered(u16),
    /// The stream was reset, or the connection closed.
    Cut,
}

/// A connection, and the stream of the next request.
pub(super) struct Connection {
    stream: TcpStream,
    next: u32,
}

impl Connection {
    pub(super) async fn open(origin: &str) -> Outcome<Self> {
        let mut stream = TcpStream::connect(origin.trim_start_matches("http://")).await?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        // SETTINGS_HEADER_TABLE_SIZE 0: every answer says all of its fields.
        stream
            .write_all(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]))
            .await?;
        Ok(Self { stream, next: 1 })
    }

    /// Sends a request, and waits until its stream ends.
    pub(super) async fn ask(&mut self, fields: &[(&str, &str)], body: &[u8]) -> Outcome<Ended> {
        let id = self.next;
        self.next += 2;
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                string(text.as_bytes(), &mut block);
            }
        }
        let mut bytes = frame(HEADERS, END_HEADERS, id, &block);
        bytes.extend(frame(DATA, END_STREAM, id, body));
        // Whoever is cut off in the middle of it learns that by reading.
        drop(self.stream.write_all(&bytes).await);
        match timeout(PATIENCE, self.answer(id)).await {
            Ok(ended) => Ok(ended),
            Err(_) => Err(Failure::new("no answer over HTTP/2")),
        }
    }

    async fn answer(&mut self, id: u32) -> Ended {
        let mut status = 0;
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).await.is_err() {
                return Ended::Cut;
            }
            let [a, b, c, kind, flags, rest @ ..] = head;
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0);
            let mut payload = vec![0; length];
            if self.stream.read_exact(&mut payload).await.is_err() {
                return Ended::Cut;
            }
            let of = u32::from_be_bytes(rest);
            match kind {
                // If it cannot be sent, there is nothing to read either.
                SETTINGS if flags & ACK == 0 => {
                    drop(self.stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await)
                }
                HEADERS if of == id => status = status_of(&payload),
                RST_STREAM if of == id => return Ended::Cut,
                GOAWAY => return Ended::Cut,
                _ => {}
            }
            if of == id && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return Ended::Answered(status);
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// RFC 7541 §5.2.
fn string(text: &[u8], out: &mut Vec<u8>) {
    let mut length = text.len();
    if length < 127 {
        out.extend(u8::try_from(length));
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.extend(u8::try_from(length % 128 + 128));
            length /= 128;
        }
        out.extend(u8::try_from(length));
    }
    out.extend(text);
}

/// `:status` comes first: by its place in the static table (RFC 7541 §A), or with a value of its own, as digits or in Huffman
/// code (of which every digit but 0 to 2 begins with 011, and those with 0000).
fn status_of(block: &[u8]) -> u16 {
    match block {
        // The size of the table (RFC 7541 §6.3).
        [0x20..=0x3f, rest @ ..] => status_of(rest),
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [0x08 | 0x18 | 0x48, length, rest @ ..] if length & 0x80 == 0 => {
            let digits = rest.get(..usize::from(*length)).unwrap_or_default();
            String::from_utf8_lossy(digits).parse().unwrap_or(0)
        }
        [0x08 | 0x18 | 0x48, _, rest @ ..] => huffman_digits(rest),
        _ => 0,
    }
}

/// Three digits (RFC 7541 §B): 0, 1 and 2 are `00000`, `00001` and `00010`; 3 to 9 are `011001` to `011111`.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes
        .iter()
        .take(3)
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
        .collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u16, |sum, bit| sum * 2 + u16::from(*bit));
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let five = number(bits.get(at..at + 5).unwrap_or_default());
        let (digit, length) = if five <= 2 {
            (five, 5)
        } else {
            (
                number(bits.get(at..at + 6).unwrap_or_default()).saturating_sub(0b01_0110),
                6,
            )
        };
        status = status * 10 + digit;
        at += length;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        assert_eq!(status_of(&[0x88]), 200);
        assert_eq!(status_of(&[0x8c, 0x61]), 400);
        assert_eq!(status_of(&[0x20, 0x08, 3, b'4', b'0', b'1']), 401);
        // 4 is 011010, 0 is 00000, 1 is 00001; 3 is 011001.
        assert_eq!(status_of(&[0x48, 0x82, 0b0110_1000, 0b0000_0001]), 401);
        assert_eq!(
            status_of(&[0x48, 0x83, 0b0110_1000, 0b0000_1100, 0b1111_1111]),
            403
        );
    }
}
