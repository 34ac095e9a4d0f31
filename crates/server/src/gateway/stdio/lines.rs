//! Lines of bounded length from a process that may write anything.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its bytes, as many as the limit allows.
    pub(super) bytes: Vec<u8>,
    /// It was longer, and the rest is gone.
    pub(super) cut: bool,
}

/// Reads lines. Keeps at most one limit's worth of bytes.
#[derive(Debug)]
pub(super) struct Lines<R> {
    from: R,
    limit: usize,
    line: Line,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(from: R, limit: usize) -> Self {
        Self {
            from,
            limit,
            line: Line {
                bytes: Vec::new(),
                cut: false,
            },
        }
    }

    /// The next line, or `None` at the end; what the end cut off is no line. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let available = self.from.fill_buf().await?;
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = available
                .get(..end.unwrap_or(available.len()))
                .unwrap_or_default();
            let room = self.limit.saturating_sub(self.line.bytes.len());
            self.line
                .bytes
                .extend_from_slice(part.get(..room).unwrap_or(part));
            self.line.cut |= part.len() > room;
            let read = part.len().saturating_add(usize::from(end.is_some()));
            self.from.consume(read);
            if end.is_some() {
                return Ok(Some(std::mem::replace(
                    &mut self.line,
                    Line {
                        bytes: Vec::new(),
                        cut: false,
                    },
                )));
            }
        }
    }
}

/// A text of the server's for our log: one line, bounded, nothing in it that a terminal obeys.
pub(super) fn printable(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text
        .trim_end()
        .chars()
        .take(limit)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn all(text: &[u8], limit: usize, buffer: usize) -> Vec<(String, bool)> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, text), limit);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push((String::from_utf8(line.bytes).unwrap(), line.cut));
        }
        read
    }

    #[tokio::test]
    async fn lines_are_whole_up_to_the_limit_and_cut_beyond() {
        for buffer in [1, 3, 64] {
            let read = all(b"abcd\nabcde\n\nabcdefghijkl\nx\nlost", 4, buffer).await;
            let expected = [
                ("abcd", false),
                ("abcd", true),
                ("", false),
                ("abcd", true),
                ("x", false),
            ];
            assert_eq!(
                read,
                expected.map(|(text, cut)| (text.to_owned(), cut)),
                "buffer of {buffer}"
            );
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_not_printed() {
        assert_eq!(printable(b"a\x1b[31mb\r\n", 100), "a [31mb");
        assert_eq!(printable(b"abc", 3), "abc");
        assert_eq!(printable(b"abcd", 3), "abc…");
        assert_eq!(printable(b"\xff", 3), "\u{fffd}");
    }
}
