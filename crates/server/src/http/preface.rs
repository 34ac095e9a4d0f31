//! The first bytes of a connection, within a time.
//!
//! HTTP/2 begins with 24 fixed bytes, so the HTTP layer waits for that many, or for one that differs, before
//! it knows which protocol it speaks and starts the clock of that protocol. A connection that sends nothing
//! would be held forever.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Length of the HTTP/2 connection preface (RFC 9113 §3.4). Every HTTP/1 request that names a host is longer.
const PREFACE_BYTES: usize = 24;

/// A connection whose first bytes must come in time.
pub(super) struct Prompt<S> {
    stream: S,
    /// `None` once they came.
    wait: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Prompt<S> {
    pub(super) fn new(stream: S, time: Duration) -> Self {
        Self {
            stream,
            wait: Some((Box::pin(sleep(time)), 0)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some((time, come)) = &mut this.wait else {
            return read;
        };
        match read {
            Poll::Ready(read) => {
                *come = come.saturating_add(buffer.filled().len().saturating_sub(before));
                if *come >= PREFACE_BYTES {
                    this.wait = None;
                }
                Poll::Ready(read)
            }
            Poll::Pending => {
                ready!(time.as_mut().poll(context));
                Poll::Ready(Err(Error::new(
                    ErrorKind::TimedOut,
                    "the first bytes of the connection did not come in time",
                )))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
