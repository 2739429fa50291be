//! The whole story in one process, on sockets and a registry in memory.

use crate::{
    client::Greeters,
    server::{Server, ServerOptions},
    shares::Shares,
};
use axum::http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use sd_core::{Balancer, BoxError, Bytes, PickContext};
use sd_memory::Registry;
use sd_tower::{Resolvers, Served, Target};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// What the client calls.
const SERVICE: &str = "memory:///hello?balancer=weighted";
/// How many calls each step makes: a multiple of the balancer's round for all weights here.
const CALLS: u64 = 400;
/// More picks than a round has.
const PICKS: usize = 32;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn play() -> Result<(), BoxError> {
    let registry = Registry::new();
    let service: Target = SERVICE.parse()?;
    let anna = Running::start(&registry, &service, "anna", 1).await?;
    let ben = Running::start(&registry, &service, "ben", 3).await?;
    let resolvers = Resolvers::new().with("memory", move |target| {
        Ok(target.instancer(registry.client())?)
    });
    let greeters = Greeters::of(resolvers.resolve(service)?);
    let mut all = Shares::default();
    say("gRPC on discovery: two greeters, and a channel that picks by weight\n")?;

    waits_for(&greeters, &[("anna", 1), ("ben", 3)]).await?;
    say("1. anna has weight 1, ben has weight 3")?;
    say(calls(&greeters, &mut all).await)?;

    let heavier = anna.set_weight("3").await?;
    waits_for(&greeters, &[("anna", 3), ("ben", 3)]).await?;
    say(format_args!("2. {heavier}"))?;
    say(calls(&greeters, &mut all).await)?;

    let refused = anna.set_weight("-1").await?;
    say(format_args!("3. {refused}"))?;
    say(calls(&greeters, &mut all).await)?;

    say("4. ben is told to end, while calls are made")?;
    let mut ending = ben.end();
    let served = loop {
        tokio::select! {
            served = &mut ending => break served??,
            answered = greeters.call() => all.add(answered),
        }
    };
    say(format_args!(
        "   ben has ended, {} connections cut",
        served.cut
    ))?;
    say(calls(&greeters, &mut all).await)?;

    anna.end().await??;
    say(format_args!(
        "{} of {} calls were answered.",
        all.answered(),
        all.made()
    ))?;
    Ok(())
}

fn say(line: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// Makes calls, one after the other. Returns the table of who has answered.
async fn calls(greeters: &Greeters, all: &mut Shares) -> String {
    let mut shares = Shares::default();
    for _ in 0..CALLS {
        let answered = greeters.call().await;
        all.add(answered.clone());
        shares.add(answered);
    }
    let line = |name: &str| {
        let (count, percent) = (shares.of(name), shares.percent(name));
        let bar = "#".repeat((percent / 5.0) as usize);
        let line = format!("   {name:<6}{count:>5} calls{percent:>5.0} %  {bar}");
        line.trim_end().to_owned() + "\n"
    };
    ["anna", "ben"].map(line).concat()
}

/// Waits until the channel picks from these greeters, by these weights.
async fn waits_for(greeters: &Greeters, weights: &[(&str, u32)]) -> Result<(), BoxError> {
    let weights = BTreeMap::from_iter(weights.iter().copied());
    let channel = greeters.channel();
    let picked = || {
        let context = PickContext::new();
        let picks = (0..PICKS).map_while(|_| channel.pick(&context).ok());
        let picks: Vec<_> = picks.collect();
        let name = |key: &str| key.rsplit('/').next().map(str::to_owned);
        let picks = picks
            .iter()
            .filter_map(|it| Some((name(it.key().as_str())?, it.weight())));
        picks.collect::<BTreeMap<_, _>>()
    };
    let mut versions = channel.versions();
    let by_weights = versions.wait_for(|_| {
        let picked = picked();
        picked.len() == weights.len()
            && picked
                .iter()
                .all(|(name, weight)| weights.get(&**name) == Some(weight))
    });
    match timeout(PATIENCE, by_weights).await {
        Ok(by_weights) => {
            by_weights?;
            Ok(())
        }
        Err(_) => Err(format!("waited for {weights:?}, and the channel has {:?}", picked()).into()),
    }
}

/// A server that runs in a task.
struct Running {
    admin_address: SocketAddr,
    end: CancellationToken,
    task: JoinHandle<Result<Served, BoxError>>,
}

impl Running {
    async fn start(
        registry: &Registry,
        service: &Target,
        name: &str,
        weight: u32,
    ) -> Result<Self, BoxError> {
        let options = ServerOptions {
            weight,
            ..ServerOptions::default()
        };
        let client = Arc::new(registry.client());
        let server = Server::bind(client, service.prefix(), Some(name), &options).await?;
        let end = CancellationToken::new();
        let token = end.clone();
        Ok(Self {
            admin_address: server.admin_address,
            end,
            task: tokio::spawn(server.serve(|server| server.cancellation_token(token))),
        })
    }

    /// Tells the server to end. The task does when it has drained.
    fn end(self) -> JoinHandle<Result<Served, BoxError>> {
        self.end.cancel();
        self.task
    }

    /// Asks for another weight, as an operator would. Returns the request and its answer.
    async fn set_weight(&self, weight: &str) -> Result<String, BoxError> {
        let url = format!("http://{}/weight?value={weight}", self.admin_address);
        let request = Request::builder()
            .method(Method::PUT)
            .uri(&url)
            .body(Empty::<Bytes>::new())?;
        let http = Client::builder(TokioExecutor::new()).build_http();
        let answer = http.request(request).await?;
        let status = match answer.status() {
            StatusCode::OK => String::new(),
            other => format!("{}: ", other.as_u16()),
        };
        let body = answer.into_body().collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body);
        Ok(format!("PUT {url}: {status}{}", body.trim_end()))
    }
}
