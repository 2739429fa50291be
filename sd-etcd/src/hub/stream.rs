//! The stream that carries all watches of a client, and the reads that prove it alive.

use super::{Input, liveness::Liveness};
use crate::{
    config::Config,
    error,
    link::{Failure, Link},
    revision::{Token, Witness},
};
use etcd_client::{WatchOptions, WatchRequestSender, WatchResponseStream};
use futures::{StreamExt, future::BoxFuture};
use sd_core::{Error, WatchError};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

pub(super) enum Stream {
    Closed,
    Opening(BoxFuture<'static, Result<Box<Open>, Error>>),
    Open(Box<Open>),
}

pub(super) struct Open {
    /// Of the connection that it is on.
    pub(super) epoch: u64,
    pub(super) requests: WatchRequestSender,
    responses: WatchResponseStream,
    pub(super) liveness: Liveness,
    /// What was true of etcd's history when it was last looked at. A watch may know more by now, but
    /// who has watched another history meanwhile knows it of that one.
    fact: Option<Fact>,
    /// What will be known if the read that is under way is answered.
    next_fact: Option<Fact>,
    reading: Option<BoxFuture<'static, Result<(), WatchError>>>,
    /// It has denied a watch.
    pub(super) denied: bool,
}

/// What a watch knows of etcd's history, and of which keys.
#[derive(Clone)]
pub(super) struct Fact {
    token: Token,
    start: Vec<u8>,
}

impl Fact {
    pub(super) fn new(token: &Token, start: &[u8]) -> Self {
        Self {
            token: token.clone(),
            start: start.to_vec(),
        }
    }
}

impl Open {
    /// Takes note of what a watch knows, if nothing is known that another history would belie.
    pub(super) fn learn(&mut self, token: &Token, start: &[u8]) {
        let is_known = |fact: &Fact| fact.token.witness != Witness::Nothing;
        if !self.fact.as_ref().is_some_and(is_known) {
            self.fact = Some(Fact::new(token, start));
        }
    }

    /// Reads whether the fact is true still, unless that is under way; `newest` is known by now.
    pub(super) fn read(&mut self, link: &Arc<Link>, config: &Arc<Config>, newest: Option<Fact>) {
        let Some(fact) = self.fact.clone().or(newest.clone()) else {
            return;
        };
        if self.reading.is_none() {
            let (link, config) = (link.clone(), config.clone());
            self.reading = Some(Box::pin(async move {
                fact.token.verify(&link, &config, fact.start).await
            }));
            self.next_fact = newest;
        }
    }

    /// The read was answered: what came before it was sent came of the same history.
    pub(super) fn was_read(&mut self) {
        self.fact = self.next_fact.take().or(self.fact.take());
    }
}

impl Stream {
    /// What comes next from etcd. Cancellation safe.
    pub(super) async fn next(&mut self) -> Input {
        match self {
            Self::Closed => pending().await,
            Self::Opening(opening) => Input::Opened(opening.await),
            Self::Open(open) => tokio::select! {
                biased;
                response = open.responses.next() => Input::Response(response),
                answer = answer(&mut open.reading) => Input::Read(answer),
            },
        }
    }
}

async fn answer<T>(reading: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(future) = reading else {
        return pending().await;
    };
    let answer = future.await;
    *reading = None;
    answer
}

/// Opens a stream with its first watch.
pub(super) async fn open(
    link: Arc<Link>,
    config: Arc<Config>,
    key: Vec<u8>,
    options: WatchOptions,
) -> Result<Box<Open>, Error> {
    let opened = link
        .call("watch", async |connection| {
            let epoch = connection.epoch;
            let stream = connection
                .client
                .watch_client()
                .max_decoding_message_size(config.max_message_bytes)
                .watch(key, Some(options))
                .await?;
            Ok((epoch, stream))
        })
        .await;
    let (epoch, stream) = opened.map_err(|failure: Failure| Error::from(failure))?;
    let (requests, responses) = stream.split();
    let now = Instant::now();
    Ok(Box::new(Open {
        epoch,
        requests,
        responses,
        liveness: Liveness::new(config.probe_interval, config.probe_timeout, now),
        fact: None,
        next_fact: None,
        reading: None,
        denied: false,
    }))
}

/// Sends a request on the stream. There is room for a hundred; where there is none, nobody has
/// read for long.
pub(super) async fn send(
    request: impl Future<Output = Result<(), etcd_client::Error>>,
) -> Result<(), Error> {
    match timeout(Duration::from_millis(100), request).await {
        Ok(sent) => sent.map_err(error::translate),
        Err(_) => Err(Error::unavailable("etcd does not read its watch stream")),
    }
}
