//! A client: follows the greeters, and calls them.

use crate::{
    process::{Diary, told_to_stop},
    shares::Shares,
};
use sd_core::{BoxError, EndpointSource, ErrorChain};
use sd_example_proto::{GreetRequest, greeter_client::GreeterClient};
use sd_tower::{CallPolicy, Channel, ResolvedTarget, Resolvers, Target};
use std::{pin::pin, time::Duration};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::Status;

pub(crate) struct ClientOptions {
    /// Calls a second.
    pub(crate) rate: u32,
    pub(crate) count: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            rate: 100,
            count: u64::MAX,
        }
    }
}

/// Makes calls one after the other until SIGTERM or Ctrl-C, and prints who answers them.
pub(crate) async fn run(service: Target, options: &ClientOptions) -> Result<(), BoxError> {
    let diary = Diary::begin(format!("client of {service}"))?;
    let greeters = Greeters::of(Resolvers::new().resolve(service)?);
    let mut told = pin!(told_to_stop());
    tokio::select! {
        told = &mut told => return Ok(told?),
        ready = greeters.ready(diary) => ready?,
    }

    let rate = options.rate.max(1);
    let mut tick = interval(Duration::from_secs(1) / rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut made, mut answered) = (0, 0);
    // Of about a second, the last one that was printed and the current one.
    let (mut printed, mut current) = (Shares::default(), Shares::default());
    while made < options.count {
        tokio::select! {
            told = &mut told => {
                told?;
                break;
            }
            _ = tick.tick() => {}
        }
        made += 1;
        let answer = greeters.call().await;
        match &answer {
            Ok(_) => answered += 1,
            Err(status) => {
                diary.note(format!(
                    "! call {made}: {:?}: {}",
                    status.code(),
                    status.message()
                ))?;
            }
        }
        current.add(answer);
        if current.made() == u64::from(rate) {
            if current.differs(&printed) {
                diary.note(&current)?;
                printed = current;
            }
            current = Shares::default();
        }
    }
    diary.note(format!("{answered} of {made} calls were answered"))?;
    Ok(())
}

/// The greeters of a service.
pub(crate) struct Greeters {
    channel: Channel,
    client: GreeterClient<Channel>,
}

impl Greeters {
    pub(crate) fn of(service: ResolvedTarget) -> Self {
        // A greeting may be given twice.
        let policy = CallPolicy::new()
            .timeout(Duration::from_secs(3))
            .idempotent(true);
        let channel = Channel::of(service).policy(policy).build();
        Self {
            client: GreeterClient::new(channel.clone()),
            channel,
        }
    }

    /// Makes a call. Returns who has answered.
    pub(crate) async fn call(&self) -> Result<String, Status> {
        let request = GreetRequest { name: "Ada".into() };
        let reply = self.client.clone().greet(request).await?;
        Ok(reply.into_inner().from)
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Waits for the first greeter. Prints that it waits.
    async fn ready(&self, diary: Diary) -> Result<(), BoxError> {
        loop {
            tokio::select! {
                ready = self.channel.ready() => return Ok(ready?),
                () = sleep(Duration::from_secs(3)) => {
                    if let Err(none) = self.channel.endpoints().endpoints().non_empty() {
                        diary.note(format!("waiting for a greeter: {}", ErrorChain(&none)))?;
                    }
                }
            }
        }
    }
}
