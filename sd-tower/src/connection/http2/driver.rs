//! The task of one connection: takes requests, and does the I/O.

use super::keep_alive::KeepAlive;
use futures::{FutureExt, future::BoxFuture};
use http_body::Body;
use hyper::{
    client::conn::http2::{Builder, SendRequest},
    rt::{Executor, Read, Write},
};
use hyper_util::rt::TokioTimer;
use sd_core::BoxError;
use std::{
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};
use tokio::sync::oneshot;

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
        stream: impl Read + Write + Send + Unpin + 'static,
        keep_alive: &KeepAlive,
    ) -> hyper::Result<Self> {
        let executor = FirstApart::default();
        let (sender, requests) = Builder::new(executor.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(keep_alive.interval())
            .keep_alive_timeout(keep_alive.timeout())
            .keep_alive_while_idle(false)
            .handshake(stream)
            .await?;
        let (mut requests, mut io) = (Some(requests), executor.take());
        let (ended_sender, ended) = oneshot::channel();
        let mut ended_sender = Some(ended_sender);
        let drive = poll_fn(move |cx| {
            if let Some(half) = &mut io
                && half.poll_unpin(cx).is_ready()
            {
                io = None;
            }
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
            match io.is_none() && requests.is_none() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        tokio::spawn(drive);
        Ok(Self { sender, ended })
    }
}

/// Keeps the first future, which is the half that does the I/O, and runs the others on tasks of their
/// own: request bodies, and responses that are waited for. They end with their call.
#[derive(Clone, Default)]
pub(super) struct FirstApart(Arc<Mutex<First>>);

#[derive(Default)]
enum First {
    #[default]
    Awaited,
    Kept(BoxFuture<'static, ()>),
    Taken,
}

impl FirstApart {
    fn take(&self) -> Option<BoxFuture<'static, ()>> {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match mem::replace(&mut *first, First::Taken) {
            First::Kept(future) => Some(future),
            First::Awaited | First::Taken => None,
        }
    }
}

impl<F> Executor<F> for FirstApart
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        // Boxed once, as it is large: spawning moves it several times.
        let future = future.boxed();
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *first {
            First::Awaited => *first = First::Kept(future),
            First::Kept(_) | First::Taken => {
                drop(first);
                tokio::spawn(future);
            }
        }
    }
}
