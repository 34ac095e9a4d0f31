//! `text/event-stream`, cut into events without being changed (WHATWG HTML §9.2).

use bytes::{Bytes, BytesMut};

/// Largest event of a stream that is looked into, in bytes.
pub const EVENT_BYTES: usize = 8 * 1024 * 1024;

/// An event that is larger than [`EVENT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Gathers bytes and gives them back event by event, each with the empty line that ends it.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: BytesMut,
    /// How much of the buffer holds no end of an event.
    searched: usize,
}

impl Splitter {
    /// Adds what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn event(&mut self) -> Result<Option<Bytes>, TooLarge> {
        let end = end_of_event(&self.buffer, self.searched);
        match end {
            Some(end) if end <= EVENT_BYTES => {
                self.searched = 0;
                Ok(Some(self.buffer.split_to(end).freeze()))
            }
            Some(_) => Err(TooLarge),
            None if self.buffer.len() > EVENT_BYTES => Err(TooLarge),
            None => {
                // The end may begin with the last three bytes there are.
                self.searched = self.buffer.len().saturating_sub(3);
                Ok(None)
            }
        }
    }
}

/// Where the first empty line ends. A line ends with CR LF, LF or CR; a CR at the very end waits for its LF.
fn end_of_event(bytes: &[u8], from: usize) -> Option<usize> {
    let line_end = |at: usize| match (bytes.get(at), bytes.get(at.saturating_add(1))) {
        (Some(b'\n'), _) => Some(1),
        (Some(b'\r'), Some(b'\n')) => Some(2),
        (Some(b'\r'), Some(_)) => Some(1),
        (Some(_) | None, _) => None,
    };
    // The stream may begin with an empty line.
    if let (0, Some(length)) = (from, line_end(0)) {
        return Some(length);
    }
    (from..bytes.len()).find_map(|at| {
        let first = line_end(at)?;
        let second = line_end(at.saturating_add(first))?;
        Some(at.saturating_add(first).saturating_add(second))
    })
}

/// One event, looked into.
#[derive(Debug)]
pub struct Event {
    /// The lines that are not `data`, without their ends.
    others: Vec<Vec<u8>>,
    /// The `data` lines, joined by LF. `None` without any.
    pub data: Option<Vec<u8>>,
}

impl Event {
    /// Reads an event that a [`Splitter`] gave.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut event = Self {
            others: Vec::new(),
            data: None,
        };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for line in bytes
            .split(|byte| matches!(byte, b'\n' | b'\r'))
            .filter(|line| !line.is_empty())
        {
            let value = match line.strip_prefix(b"data") {
                Some([]) => Some(&[][..]),
                Some([b':', b' ', value @ ..] | [b':', value @ ..]) => Some(value),
                Some(_) | None => None,
            };
            match (value, &mut event.data) {
                (Some(value), Some(data)) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                (Some(value), data @ None) => *data = Some(value.to_vec()),
                (None, _) => event.others.push(line.to_vec()),
            }
        }
        event
    }

    /// A field that is not `data`: the last of that name (WHATWG HTML §9.2.6).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let value = |line: &'_ Vec<u8>| {
            let (found, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
            (found == name).then(|| {
                line.len()
                    .saturating_sub(value.strip_prefix(' ').unwrap_or(value).len())
            })
        };
        let (line, from) = self
            .others
            .iter()
            .rev()
            .find_map(|line| Some((line, value(line)?)))?;
        std::str::from_utf8(line.get(from..)?).ok()
    }

    /// The event without data: a reader takes no message from it, and its id all the same (WHATWG HTML §9.2.6).
    pub(super) fn without_data(&self) -> Bytes {
        let mut bytes = self.others.join(&b'\n');
        bytes.extend_from_slice(b"\n\n");
        bytes.into()
    }

    /// The event with other data.
    pub(super) fn with_data(&self, data: &[u8]) -> Bytes {
        let mut bytes = Vec::with_capacity(data.len().saturating_add(64));
        for line in &self.others {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
            bytes.extend_from_slice(b"data: ");
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        bytes.push(b'\n');
        bytes.into()
    }
}

/// An event of type `message` with this JSON text.
pub(super) fn message(json: &[u8]) -> Bytes {
    Event {
        others: vec![b"event: message".to_vec()],
        data: None,
    }
    .with_data(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&str]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        for piece in pieces {
            splitter.push(piece.as_bytes());
            while let Some(event) = splitter.event().unwrap() {
                events.push(String::from_utf8(event.to_vec()).unwrap());
            }
        }
        events
    }

    #[test]
    fn events_end_with_an_empty_line_however_lines_end_and_bytes_arrive() {
        for ends in ["\n", "\r\n", "\r"] {
            let stream = format!("event: a{ends}data: 1{ends}{ends}: note{ends}{ends}data: 2{ends}{ends}x");
            let events = vec![
                format!("event: a{ends}data: 1{ends}{ends}"),
                format!(": note{ends}{ends}"),
                format!("data: 2{ends}{ends}"),
            ];
            assert_eq!(split(&[&stream]), events, "{ends:?}");
            let bytes: Vec<String> = stream.chars().map(String::from).collect();
            let pieces: Vec<&str> = bytes.iter().map(String::as_str).collect();
            assert_eq!(split(&pieces), events, "{ends:?}");
        }
        assert_eq!(split(&["\n\ndata: 1\n\n"]), ["\n", "\n", "data: 1\n\n"]);
        assert!(split(&["data: 1\n"]).is_empty());
    }

    #[test]
    fn an_event_at_the_limit_passes_and_one_byte_more_does_not() {
        let event = |length: usize| format!("data: {}\n\n", "x".repeat(length - 8));
        assert_eq!(split(&[&event(EVENT_BYTES)]).len(), 1);
        let mut splitter = Splitter::default();
        splitter.push(event(EVENT_BYTES + 1).as_bytes());
        assert_eq!(splitter.event(), Err(TooLarge));
        // Without an end too.
        let mut splitter = Splitter::default();
        splitter.push(&vec![b'x'; EVENT_BYTES]);
        assert_eq!(splitter.event(), Ok(None));
        splitter.push(b"x");
        assert_eq!(splitter.event(), Err(TooLarge));
    }

    #[test]
    fn data_is_read_and_replaced_and_the_other_lines_stay() {
        let event = Event::read(b"id: 7\r\nevent: message\r\ndata: {\"a\":\r\ndata:1}\r\nretry: 5\r\n\r\n");
        assert_eq!(event.data.as_deref(), Some(&b"{\"a\":\n1}"[..]));
        assert_eq!(
            event.with_data(b"{}\n"),
            "id: 7\nevent: message\nretry: 5\ndata: {}\ndata: \n\n"
        );
        assert_eq!((event.field("id"), event.field("retry")), (Some("7"), Some("5")));
        assert_eq!((event.field("data"), event.field("i")), (None, None));
        assert_eq!(event.without_data(), "id: 7\nevent: message\nretry: 5\n\n");
        assert_eq!(Event::read(b"id: 7\ndata\n\n").data.as_deref(), Some(&b""[..]));
        assert_eq!(
            Event::read(b"\xef\xbb\xbfdata: x\n\n").data.as_deref(),
            Some(&b"x"[..])
        );
        for other in [
            &b": data: x\n\n"[..],
            b"datax: 1\n\n",
            b" data: 1\n\n",
            b"id: 1\n\n",
        ] {
            assert_eq!(Event::read(other).data, None);
        }
        assert_eq!(message(b"{}"), "event: message\ndata: {}\n\n");
    }
}
