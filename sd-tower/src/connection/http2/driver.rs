//! The task of one connection: takes requests, and does the I/O.

use super::{gathered_writes::GatheredWrites, keep_alive::KeepAlive};
use futures::{FutureExt, future::BoxFuture};
use http_body::Body;
use hyper::{
    client::conn::http2::{Builder, SendRequest},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use sd_core::BoxError;
use std::{
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};

/// An HTTP/2 connection that is driven by a task of its own.
///
/// The task ends by itself once the connection is closed, or once no sender, no call and no response
/// body is left: it then closes the connection. It has no other owner, so that bodies outlive the
/// [`Connection`](super::Connection).
///
/// hyper has two halves, one that takes requests from a queue and one that does the I/O, and would run
/// them on two tasks. When a GOAWAY arrives at one while the other has just opened a stream, the call
/// fails with that GOAWAY although the server may have served it: seen with hyper 1.12 and h2 0.4.20,
/// several times in 4,000 calls. Here the halves take turns in one task, so that a call fails with a
/// GOAWAY of the server's only if the server has not served it.
pub(super) struct Driven<B> {
    pub(super) sender: SendRequest<B>,
    /// Resolves when the connection takes no more requests, and says why.
    pub(super) ended: oneshot::Receiver<hyper::Result<()>>,
}

impl<B> Driven<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// Begins a connection over `stream`.
    pub(super) async fn spawn(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        keep_alive: &KeepAlive,
    ) -> hyper::Result<Self> {
        let executor = ConnectionExecutor::default();
        let (sender, requests) = Builder::new(executor.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(keep_alive.interval())
            .keep_alive_timeout(keep_alive.timeout())
            .keep_alive_while_idle(false)
            .handshake(TokioIo::new(GatheredWrites::new(stream)))
            .await?;
        let (mut requests, mut io) = (Some(requests), executor.take_first());
        let (ended_sender, ended) = oneshot::channel();
        let mut ended_sender = Some(ended_sender);
        let mut begun = Vec::new();
        let drive = poll_fn(move |cx| {
            executor.hold();
            if let Some(half) = &mut requests
                && let Poll::Ready(result) = half.poll_unpin(cx)
            {
                // Gives back the requests in its queue.
                requests = None;
                if let Some(ended) = ended_sender.take() {
                    // Nobody waits once all senders are gone.
                    let _ = ended.send(result);
                }
            }
            // After it, since this opens the streams of the requests.
            if let Some(half) = &mut io
                && half.poll_unpin(cx).is_ready()
            {
                io = None;
            }
            executor.release(&mut begun);
            for mut future in begun.drain(..) {
                // Most bodies can be sent now, and need no task.
                if future.poll_unpin(cx).is_pending() {
                    tokio::spawn(future);
                }
            }
            match io.is_none() && requests.is_none() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        tokio::spawn(drive);
        Ok(Self { sender, ended })
    }
}

/// Keeps the first future, which is the half that does the I/O. The others are request bodies, and
/// responses that are waited for: they end with their call. Those that are begun while it
/// [holds](Self::hold) them are for the driver to poll first, others run on tasks of their own at
/// once.
#[derive(Clone, Default)]
struct ConnectionExecutor(Arc<Mutex<Begun>>);

#[derive(Default)]
struct Begun {
    first: First,
    is_holding: bool,
    held: Vec<BoxFuture<'static, ()>>,
}

#[derive(Default)]
enum First {
    #[default]
    Awaited,
    Kept(BoxFuture<'static, ()>),
    Taken,
}

impl ConnectionExecutor {
    fn lock(&self) -> MutexGuard<'_, Begun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_first(&self) -> Option<BoxFuture<'static, ()>> {
        match mem::replace(&mut self.lock().first, First::Taken) {
            First::Kept(future) => Some(future),
            First::Awaited | First::Taken => None,
        }
    }

    /// From now on holds what is begun.
    fn hold(&self) {
        self.lock().is_holding = true;
    }

    /// Moves what was held to `begun`, which is empty, and holds no more.
    fn release(&self, begun: &mut Vec<BoxFuture<'static, ()>>) {
        let mut state = self.lock();
        state.is_holding = false;
        mem::swap(&mut state.held, begun);
    }
}

impl<F> Executor<F> for ConnectionExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        // Boxed once, as it is large: spawning moves it several times.
        let future = future.boxed();
        let mut state = self.lock();
        match state.first {
            First::Awaited => state.first = First::Kept(future),
            First::Kept(_) | First::Taken if state.is_holding => state.held.push(future),
            First::Kept(_) | First::Taken => {
                drop(state);
                tokio::spawn(future);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Http2Options;
    use bytes::Bytes;
    use http::Request;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const HEADER: usize = 9;
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const END_STREAM: u8 = 1;
    const SETTINGS: [u8; HEADER] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const SETTINGS_ACK: [u8; HEADER] = [0, 0, 0, 4, 1, 0, 0, 0, 0];

    #[tokio::test]
    async fn the_head_and_the_body_of_requests_are_written_together() {
        let (client, mut server) = tokio::io::duplex(64 * 1024);
        let keep_alive = KeepAlive::new(&Http2Options::new());
        let mut driven = Driven::spawn(client, &keep_alive).await.unwrap();
        server.write_all(&SETTINGS).await.unwrap();
        let mut settled = Vec::new();
        while !settled.windows(HEADER).any(|frame| frame == SETTINGS_ACK) {
            server.read_buf(&mut settled).await.unwrap();
        }

        let mut send = |body| {
            let request = Request::post("http://h/").body(Full::new(Bytes::from_static(body)));
            driven.sender.try_send_request(request.unwrap())
        };
        // On a task, so that its turn comes right after a write.
        let reads = tokio::spawn(async move {
            let mut written = Vec::with_capacity(1024);
            server.read_buf(&mut written).await.unwrap();
            written
        });
        tokio::task::yield_now().await;
        let _calls = [send(b"first"), send(b"second")];
        let written = reads.await.unwrap();
        let (head, body) = ((HEADERS, 0), (DATA, END_STREAM));
        let mut frames = frames(&written);
        frames.sort_unstable();
        assert_eq!(frames, [body, body, head, head]);
    }

    /// The types of frames, and whether their streams end with them.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, u8)> {
        let mut frames = Vec::new();
        while let [_, high, low, kind, flags, ..] = *bytes {
            frames.push((kind, flags & END_STREAM));
            bytes = &bytes[HEADER + usize::from(u16::from_be_bytes([high, low]))..];
        }
        frames
    }
}
