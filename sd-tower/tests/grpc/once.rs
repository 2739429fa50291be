//! That no call is executed twice which may not be.

use crate::{
    fleet::{PATIENCE, connected, greeter, named, register},
    raw_server::{
        Act::{self, Answers, Breaks, Closes, Executes, Fails, GoesAway, Resets},
        RawServer,
    },
};
use sd_core::RoundRobin;
use sd_memory::Registry;
use sd_tower::{CallPolicy, ConnectOptions};
use std::{collections::BTreeMap, sync::Mutex, time::Duration};
use tokio::{task::JoinSet, time::timeout};
use tonic::Code;

const SERVERS: usize = 4;
const CALLERS: usize = 16;
const CALLS: usize = 150;

/// A server that fails in all ways, and says nothing untrue: whatever it says it has not executed,
/// it has not.
fn any_acts(random: &mut fastrand::Rng, stream: u32) -> Vec<Act> {
    let end = if random.bool() { Closes } else { Breaks };
    match random.u32(..60) {
        0 => vec![Resets(7)],
        1 => vec![GoesAway(stream - 1, 0), end],
        2 => vec![Fails("14")],
        3 => vec![Executes, Resets(8)],
        4 => vec![Executes, GoesAway(stream, 0), end],
        5 => vec![Executes, end],
        6 => vec![Executes, Fails("13")],
        // No answer at all.
        7 => vec![Executes],
        8 => vec![end],
        _ => vec![Executes, Answers],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_executed_twice_that_may_not_be() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let registry = Registry::new();
    let mut servers = Vec::new();
    for number in 0..SERVERS as u64 {
        let random = Mutex::new(fastrand::Rng::with_seed(seed ^ number));
        let acts = move |request: &crate::raw_server::RawRequest| {
            any_acts(&mut random.lock().unwrap(), request.stream)
        };
        let server = RawServer::start(6, acts).await;
        let registrar = register(registry.client(), &server.address.to_string()).await;
        servers.push((server, registrar));
    }
    let millis = Duration::from_millis;
    // What answers UNAVAILABLE here has executed nothing.
    let policy = CallPolicy::new()
        .retry_on([Code::Unavailable])
        .per_try_timeout(millis(200))
        .backoff(millis(1), millis(5));
    let channel = connected(&registry, SERVERS, |channel| {
        let backoff = sd_core::Backoff::new(millis(1), millis(5));
        channel
            .balancer(RoundRobin::new)
            .connect(ConnectOptions::new().backoff(backoff))
            .policy(policy.clone())
    })
    .await;

    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (mut greeter, idempotent) = (greeter(&channel), policy.clone().idempotent(true));
        callers.spawn(async move {
            for call in 0..CALLS {
                let is_idempotent = call % 4 == 0;
                let kind = if is_idempotent { "often" } else { "once" };
                let mut request = tonic::Request::new(named(format!("{kind} {caller}.{call}")));
                if is_idempotent {
                    request.extensions_mut().insert(idempotent.clone());
                }
                // Not one of these servers sends a message.
                let answer = timeout(PATIENCE, greeter.greet(request)).await;
                answer.expect("each call has an end").unwrap_err();
            }
        });
    }
    callers.join_all().await;

    let mut times = BTreeMap::<String, usize>::new();
    for (server, _) in &servers {
        for id in server.executed() {
            *times.entry(id).or_default() += 1;
        }
    }
    let twice = times.iter().filter(|(_, times)| **times > 1);
    let (once, often): (Vec<_>, Vec<_>) = twice.partition(|(id, _)| id.starts_with("once"));
    assert!(once.is_empty(), "{once:?}");
    assert!(!often.is_empty(), "servers would have executed them twice");
    assert!(times.len() > CALLERS * CALLS / 2, "{}", times.len());
}
