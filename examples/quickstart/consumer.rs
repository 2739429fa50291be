//! The consumer: Instancer, Endpointer, RoundRobin, Retry.

use crate::SERVICE;
use sd_core::{
    BoxError, Client, Endpoint, EndpointSource, Endpointer, Instancer, Prefix, Retry, RoundRobin,
    factory_fn,
};
use std::{collections::BTreeMap, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{io::AsyncReadExt, net::TcpStream, time};

/// How long the registry and the providers may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Follows the providers, and calls them in turn.
pub(crate) struct Consumer {
    prefix: Prefix,
    hello: Retry<RoundRobin<Endpointer<SocketAddr>>, io::Error>,
}

/// One call: the providers that were tried, in order. The last one answered, unless the call
/// failed.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) tried: Vec<String>,
    pub(crate) answered: bool,
}

impl Consumer {
    /// Starts a consumer, and waits until it is ready. Fails if there are providers already, since
    /// the output would contain them too.
    pub(crate) async fn start(client: impl Client) -> Result<Self, BoxError> {
        let prefix = Prefix::new(SERVICE)?;
        let instancer = Instancer::new(client, prefix.clone());
        instancer.ready_within(Duration::from_secs(4)).await?;

        let addresses = factory_fn(|instance| Ok(instance.address().parse::<SocketAddr>()?));
        let endpointer = Endpointer::new(instancer, addresses);
        endpointer.ready().await?;

        let hello = Retry::builder(RoundRobin::new(endpointer))
            .max_attempts(3)
            .per_try_timeout(Duration::from_secs(1))
            .retry_timeouts(true) // a greeting may be asked for twice
            .build();
        let consumer = Self { prefix, hello };
        match &*consumer.sees() {
            [] => Ok(consumer),
            others => Err(format!(
                "there is something under {SERVICE} already: {}. End it first; what has crashed \
                 goes when its lease runs out",
                others.join(", ")
            )
            .into()),
        }
    }

    /// Makes one call, on another provider if the first fails.
    pub(crate) async fn call(&self) -> Call {
        let mut tried = Vec::new();
        let called = self.hello.call(|provider| {
            tried.push(self.name(&provider));
            async move { hello(**provider).await }
        });
        let answered = called.await.is_ok();
        Call { tried, answered }
    }

    /// Makes `count` calls, one after the other.
    pub(crate) async fn calls(&self, count: usize) -> Vec<Call> {
        let mut calls = Vec::new();
        for _ in 0..count {
            calls.push(self.call().await);
        }
        calls
    }

    /// Makes calls until `end` resolves.
    pub(crate) async fn calls_until(
        &self,
        end: impl Future<Output = Result<(), BoxError>>,
    ) -> Result<Vec<Call>, BoxError> {
        let mut end = pin!(end);
        let mut tick = time::interval(Duration::from_millis(250));
        let mut calls = Vec::new();
        loop {
            tokio::select! {
                ended = &mut end => return ended.map(|()| calls),
                _ = tick.tick() => calls.push(self.call().await),
            }
        }
    }

    /// The names of the providers, in order.
    pub(crate) fn sees(&self) -> Vec<String> {
        self.addresses().into_keys().collect()
    }

    /// The names and addresses of the providers.
    pub(crate) fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        let endpoints = self.endpointer().endpoints();
        let named = endpoints.iter().map(|it| (self.name(it), ***it));
        named.collect()
    }

    pub(crate) async fn waits_until_it_sees(&self, names: &[&str]) -> Result<(), BoxError> {
        let mut versions = self.endpointer().versions();
        let seen = versions.wait_for(|_| self.sees() == names);
        match time::timeout(PATIENCE, seen).await {
            Ok(seen) => {
                seen?;
                Ok(())
            }
            Err(_) => Err(format!(
                "waited {PATIENCE:?} for the consumer to see [{}], but it sees [{}]",
                names.join(", "),
                self.sees().join(", ")
            )
            .into()),
        }
    }

    pub(crate) async fn stop(&self) {
        self.endpointer().stop().await;
    }

    fn endpointer(&self) -> &Endpointer<SocketAddr> {
        self.hello.balancer().source()
    }

    fn name(&self, provider: &Arc<Endpoint<SocketAddr>>) -> String {
        let key = provider.key();
        self.prefix.strip(key).unwrap_or(key.as_str()).to_owned()
    }
}

/// Calls the provider at `address`, which answers its name.
async fn hello(address: SocketAddr) -> io::Result<String> {
    let mut answer = String::new();
    let mut provider = TcpStream::connect(address).await?;
    provider.read_to_string(&mut answer).await?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}
