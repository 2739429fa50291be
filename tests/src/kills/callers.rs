//! The callers: many at a time, at a steady rate.

use super::{PREFIX, summary::CallKind};
use futures::future::join_all;
use sd_core::{Instancer, Prefix};
use sd_etcd::EtcdClient;
use sd_example_proto::{GreetRequest, greeter_client::GreeterClient};
use sd_tower::{CallPolicy, Channel};
use std::time::Duration;
use tokio::{
    task::JoinHandle,
    time::{Instant, interval_at},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    transport::{Channel as TonicChannel, Endpoint},
};

/// How many calls of a kind may be under way at a time. A caller makes one after the other.
const CALLERS: u32 = 200;
/// The deadline of a call, which is reached only by one that hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// A call that was made.
pub(super) struct Call {
    pub(super) kind: CallKind,
    pub(super) id: String,
    pub(super) answer: Result<(), Status>,
}

/// Callers at work.
pub(super) struct Load {
    stop: CancellationToken,
    callers: Vec<JoinHandle<Vec<Call>>>,
    client: EtcdClient,
}

impl Load {
    /// With so many calls a second through our channel, and as many through tonic's.
    pub(super) async fn start(endpoint: String, addresses: &[String], rate: u32) -> Self {
        let client = EtcdClient::connect([endpoint]).expect("a URL");
        let prefix = Prefix::new(PREFIX).expect("a prefix");
        let channel = sd_tower::channel(Instancer::new(client.clone(), prefix));
        channel.ready().await.expect("providers");
        let endpoints = addresses
            .iter()
            .map(|address| Endpoint::from_shared(format!("http://{address}")).expect("a URL"));
        let tonic = TonicChannel::balance_list(endpoints);

        let stop = CancellationToken::new();
        let mut callers = Vec::new();
        for (kind, rate) in [
            (CallKind::Idempotent, rate / 2),
            (CallKind::NotIdempotent, rate / 2),
            (CallKind::Tonic, rate),
        ] {
            let period = Duration::from_secs(1) * CALLERS / rate.max(1);
            for number in 0..CALLERS {
                let greeters = match kind {
                    CallKind::Tonic => Greeters::Tonic(GreeterClient::new(tonic.clone())),
                    _ => Greeters::Ours(GreeterClient::new(channel.clone())),
                };
                let caller = Caller {
                    kind,
                    number,
                    greeters,
                };
                callers.push(tokio::spawn(caller.call_until(stop.clone(), period)));
            }
        }
        Self {
            stop,
            callers,
            client,
        }
    }

    /// Stops the callers when the calls under way have ended. Returns all calls.
    pub(super) async fn stop(self) -> Vec<Call> {
        self.stop.cancel();
        let calls = join_all(self.callers).await;
        self.client.close().await;
        calls
            .into_iter()
            .flat_map(|calls| calls.expect("a caller does not panic"))
            .collect()
    }
}

enum Greeters {
    Ours(GreeterClient<Channel>),
    Tonic(GreeterClient<TonicChannel>),
}

struct Caller {
    kind: CallKind,
    number: u32,
    greeters: Greeters,
}

impl Caller {
    async fn call_until(mut self, stop: CancellationToken, period: Duration) -> Vec<Call> {
        let mut calls = Vec::new();
        // Spread, so that about as many calls are under way at any time.
        let first = Instant::now() + period * self.number / CALLERS;
        let mut tick = interval_at(first, period);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return calls,
                _ = tick.tick() => {}
            }
            let id = format!("{}-{}-{}", self.kind.name(), self.number, calls.len());
            let answer = self.call(&id).await;
            calls.push(Call {
                kind: self.kind,
                id,
                answer,
            });
        }
    }

    async fn call(&mut self, id: &str) -> Result<(), Status> {
        let mut request = Request::new(GreetRequest {
            name: id.to_owned(),
        });
        request.set_timeout(DEADLINE);
        if self.kind == CallKind::Idempotent {
            let policy = CallPolicy::<Code>::new().idempotent(true);
            request.extensions_mut().insert(policy);
        }
        match &mut self.greeters {
            Greeters::Ours(greeters) => greeters.greet(request).await?,
            Greeters::Tonic(greeters) => greeters.greet(request).await?,
        };
        Ok(())
    }
}
