//! Writes that wait for what else there is to be written.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The stream of an HTTP/2 connection that lets other tasks have their turn before it writes.
///
/// h2 has the head of a request to write before it tells the task that sends the body that it may.
/// Written at once, each would be a system call and a packet of its own. After one turn of the other
/// tasks they go together, and so do the requests of all callers that were woken at the same time.
///
/// One turn, however many writes follow: what was put off is written in the next poll of the
/// connection, which is asked for at once.
pub(super) struct GatheredWrites<S> {
    stream: S,
    turn: Turn,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing was to be written since the last poll.
    Idle,
    /// A write was put off.
    PutOff,
    /// Until the next poll, which begins with a read.
    Writing,
}

impl<S> GatheredWrites<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            turn: Turn::Idle,
        }
    }

    /// Ready if it is time to write.
    fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self.turn {
            Turn::Idle => {
                self.turn = Turn::PutOff;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Turn::PutOff | Turn::Writing => {
                self.turn = Turn::Writing;
                Poll::Ready(())
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GatheredWrites<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn == Turn::Writing {
            self.turn = Turn::Idle;
        }
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GatheredWrites<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[tokio::test]
    async fn a_write_waits_for_one_turn_and_those_that_follow_for_none() {
        let (client, _server) = tokio::io::duplex(64);
        let mut stream = GatheredWrites::new(client);
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..2 {
            let read = Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut [0; 8]));
            assert!(read.is_pending());
            assert!(Pin::new(&mut stream).poll_write(cx, b"ab").is_pending());
            // The next poll reads first, too.
            let read = Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut [0; 8]));
            assert!(read.is_pending());
            for _ in 0..2 {
                let written = Pin::new(&mut stream).poll_write(cx, b"ab");
                assert!(matches!(written, Poll::Ready(Ok(2))));
            }
        }
    }
}
