//! A request's body as it comes, at a pace.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use super::Body;

/// How fast a body has to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Longest wait for all of it.
    pub(super) whole: Duration,
    /// Longest wait for so many more bytes of it, or its end. Who sends one byte now and then is not waited for.
    pub(super) step: (usize, Duration),
}

impl Pace {
    /// This long for all of it, and a kibibyte every five seconds.
    pub(super) const fn within(whole: Duration) -> Self {
        Self {
            whole,
            step: (1024, Duration::from_secs(5)),
        }
    }
}

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than the limit, as was declared or as it came.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// It broke off.
    Broken,
}

/// The whole body, of `limit` bytes at most. A declared length past the limit is refused unread. However small the pieces in which
/// it comes, it takes no more memory than its bytes do.
pub(super) async fn read_body(body: &mut Body, limit: usize, pace: Pace) -> Result<Bytes, Unread> {
    let declared = body.size_hint().lower();
    if declared > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(Unread::TooLarge);
    }
    let (step_bytes, step_time) = pace.step;
    // A time that the clock cannot say never comes, and the other one does.
    let end = Instant::now().checked_add(pace.whole);
    let (mut read, mut stepped) = (Pieces::default(), 0_usize);
    loop {
        let step_end = Instant::now().checked_add(step_time);
        loop {
            let until = match (end, step_end) {
                (Some(end), Some(step_end)) => end.min(step_end),
                (end, step_end) => end.or(step_end).unwrap_or_else(Instant::now),
            };
            let frame = match timeout_at(until, body.frame()).await {
                Err(_) => return Err(Unread::TooSlow),
                Ok(None) => return Ok(read.whole()),
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "a request body broke off");
                    return Err(Unread::Broken);
                }
                Ok(Some(Ok(frame))) => frame,
            };
            // The other frames are trailers, which say nothing here.
            if let Ok(data) = frame.into_data() {
                if read.len().saturating_add(data.len()) > limit {
                    return Err(Unread::TooLarge);
                }
                read.push(data);
            }
            if read.len().saturating_sub(stepped) >= step_bytes {
                stepped = read.len();
                break;
            }
        }
    }
}

/// What came. One piece is kept as it is.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    more: BytesMut,
}

impl Pieces {
    fn len(&self) -> usize {
        self.first.len().saturating_add(self.more.len())
    }

    fn push(&mut self, data: Bytes) {
        if self.len() == 0 {
            self.first = data;
        } else {
            if !self.first.is_empty() {
                self.more.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.more.extend_from_slice(&data);
        }
    }

    fn whole(self) -> Bytes {
        if self.more.is_empty() {
            self.first
        } else {
            self.more.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    type Piece = Result<Frame<Bytes>, std::io::Error>;

    /// A body that is what is sent to it.
    fn fed() -> (mpsc::UnboundedSender<Piece>, Body) {
        let (sender, receiver) = mpsc::unbounded_channel::<Piece>();
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        let body = StreamBody::new(stream)
            .map_err(|error| -> Box<dyn std::error::Error + Send + Sync> { Box::new(error) });
        (sender, body.boxed_unsync())
    }

    fn piece(length: usize) -> Piece {
        Ok(Frame::data(vec![b'x'; length].into()))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn drops_are_not_waited_for_and_a_slow_line_is() {
        let steps = |time| Pace {
            whole: LONG,
            step: (100, time),
        };
        let drops = async |mut left: usize| {
            let (sender, body) = fed();
            tokio::spawn(async move {
                while left > 0 && sender.send(piece(1)).is_ok() {
                    left -= 1;
                    sleep(Duration::from_millis(5)).await;
                }
            });
            body
        };
        let mut body = drops(usize::MAX).await;
        // Without a pace it would come to be too large.
        let slow = read_body(&mut body, 200, steps(Duration::from_millis(50))).await;
        assert_eq!(slow, Err(Unread::TooSlow));
        let mut body = drops(20).await;
        assert_eq!(
            read_body(&mut body, 1 << 20, steps(LONG)).await.unwrap().len(),
            20
        );
    }

    #[tokio::test]
    async fn the_whole_has_its_time_too() {
        let (sender, mut body) = fed();
        tokio::spawn(async move {
            // Fast enough at each step, and without an end.
            while sender.send(piece(100)).is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let pace = Pace {
            whole: Duration::from_millis(100),
            step: (100, LONG),
        };
        assert_eq!(read_body(&mut body, usize::MAX, pace).await, Err(Unread::TooSlow));
    }

    #[tokio::test]
    async fn at_the_limit_and_one_byte_past_it() {
        for pieces in [vec![1000], vec![400, 600], vec![1; 1000]] {
            let (sender, mut body) = fed();
            for length in &pieces {
                sender.send(piece(*length)).unwrap();
            }
            drop(sender);
            assert_eq!(
                read_body(&mut body, 1000, Pace::within(LONG))
                    .await
                    .unwrap()
                    .len(),
                1000
            );
            let (sender, mut body) = fed();
            for length in pieces {
                sender.send(piece(length)).unwrap();
            }
            sender.send(piece(1)).unwrap();
            assert_eq!(
                read_body(&mut body, 1000, Pace::within(LONG)).await,
                Err(Unread::TooLarge)
            );
        }
        let declared = &mut super::super::full(vec![0; 1001].into());
        assert_eq!(
            read_body(declared, 1000, Pace::within(LONG)).await,
            Err(Unread::TooLarge)
        );
    }

    #[tokio::test]
    async fn what_breaks_off_is_no_body() {
        let (sender, mut body) = fed();
        sender.send(piece(10)).unwrap();
        sender.send(Err(std::io::Error::other("gone"))).unwrap();
        assert_eq!(
            read_body(&mut body, 1000, Pace::within(LONG)).await,
            Err(Unread::Broken)
        );
    }
}
