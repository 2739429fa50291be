//! What happens in which order, on paused time: nothing calls these servers.

use super::{PREFIX, idle, listener, registrar};
use sd_core::{Deregistered, Error, Instancer, Invalid, Prefix, Registrar, Service, Status};
use sd_memory::Registry;
use sd_tower::{RegisteredServer, ServeError, ServerStatus};
use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

fn seconds(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

async fn until(status: &mut watch::Receiver<ServerStatus>, is: impl FnMut(&ServerStatus) -> bool) {
    let reached = tokio::time::timeout(seconds(3600), status.wait_for(is)).await;
    reached.expect("it takes too long").expect("a server");
}

/// What has happened, and how many seconds after the beginning.
#[derive(Clone)]
struct Events(Arc<Mutex<Vec<(&'static str, u64)>>>, Instant);

impl Events {
    fn new() -> Self {
        Self(Arc::default(), Instant::now())
    }

    fn push(&self, event: &'static str) {
        let at = self.1.elapsed().as_secs();
        let mut events = self.0.lock().unwrap();
        if events.last().is_none_or(|(last, _)| *last != event) {
            events.push((event, at));
        }
    }

    fn seen(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn consumers_are_told_before_connections_are_closed_whatever_the_format() {
    for plain in [false, true] {
        let registry = Registry::new();
        let (listener, address) = listener().await;
        let consumer = Instancer::new(registry.client(), Prefix::new(PREFIX).unwrap());
        consumer.ready().await.unwrap();
        let events = Events::new();
        let seen = tokio::spawn({
            let (events, mut states) = (events.clone(), consumer.subscribe());
            async move {
                while let Some(event) = futures::StreamExt::next(&mut states).await {
                    events.push(match event.instances().iter().next() {
                        None => "gone",
                        Some(it) if it.status() == Status::Draining => "draining",
                        Some(_) => "registered",
                    });
                }
            }
        });
        let registrar = match plain {
            false => registrar(&registry, address),
            true => {
                let service = Service::new(format!("{PREFIX}{address}"), address.to_string());
                Registrar::builder(registry.client(), service.unwrap())
            }
        };
        let token = CancellationToken::new();
        let server = RegisteredServer::new(listener)
            .registrar(registrar.drain(seconds(5)).build())
            .linger(seconds(7))
            .cancellation_token(token.clone())
            .on_drain({
                let events = events.clone();
                async move { events.push("not serving") }
            });
        let mut status = server.status();
        let served = tokio::spawn(server.serve({
            let events = events.clone();
            |_, shutdown| async move {
                shutdown.await;
                events.push("closing");
                // A call is under way.
                sleep(seconds(3)).await;
                events.push("finished");
                Ok::<_, Infallible>(())
            }
        }));
        until(&mut status, |it| matches!(it, ServerStatus::Serving)).await;
        sleep(seconds(100)).await;
        token.cancel();
        let served = served.await.unwrap().unwrap();
        assert_eq!(served.deregistered, [Deregistered::Removed]);
        assert!(served.is_clean() && served.left == 0);
        assert!(matches!(*status.borrow(), ServerStatus::Ended));

        let draining: &[_] = match plain {
            false => &[("draining", 100), ("gone", 105)],
            true => &[("gone", 100)],
        };
        let mut expected = vec![("gone", 0), ("registered", 0), ("not serving", 100)];
        expected.extend(draining);
        expected.extend([("closing", 112), ("finished", 115)]);
        assert_eq!(events.seen(), expected);
        seen.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn it_registers_when_its_check_passes() {
    let registry = Registry::new();
    let (listener, address) = listener().await;
    let attempts = Arc::new(AtomicU32::new(0));
    let server = RegisteredServer::new(listener)
        .registrar(registrar(&registry, address).build())
        .check({
            let (attempts, registry) = (attempts.clone(), registry.clone());
            move || {
                assert!(registry.entries().is_empty(), "registered too early");
                let attempt = attempts.fetch_add(1, Ordering::Relaxed);
                async move {
                    match attempt {
                        0..3 => Err(io::Error::other("no database")),
                        // One attempt hangs, and is given up.
                        3 => std::future::pending().await,
                        _ => Ok(()),
                    }
                }
            }
        });
    let mut status = server.status();
    let served = tokio::spawn(server.serve(idle));
    until(&mut status, |it| it.to_string() == "checking: no database").await;
    until(&mut status, |it| matches!(it, ServerStatus::Serving)).await;
    assert_eq!(attempts.load(Ordering::Relaxed), 5);
    assert_eq!(registry.entries().len(), 1);
    served.abort();
}

#[tokio::test(start_paused = true)]
async fn a_check_that_never_passes_ends_the_server_unregistered() {
    let registry = Registry::new();
    let (listener, address) = listener().await;
    let (start, before) = (Instant::now(), registry.revision());
    let ended = RegisteredServer::new(listener)
        .registrar(registrar(&registry, address).build())
        .check(async || Err(io::Error::other("no database")))
        .check_limit(seconds(20))
        .serve(idle)
        .await;
    let Err(ServeError::NotReady { source, .. }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(source.unwrap().to_string(), "no database");
    assert_eq!(start.elapsed().as_secs(), 20, "nobody lingers");
    assert_eq!(registry.revision(), before, "never registered");
}

#[tokio::test(start_paused = true)]
async fn it_serves_while_the_registry_is_away_and_registers_later() {
    let registry = Registry::new();
    registry.kill();
    let (listener, address) = listener().await;
    let token = CancellationToken::new();
    let server = RegisteredServer::new(listener)
        .registrar(registrar(&registry, address).build())
        .cancellation_token(token.clone());
    let mut status = server.status();
    let served = tokio::spawn(server.serve(idle));
    sleep(seconds(600)).await;
    assert!(matches!(*status.borrow(), ServerStatus::Registering));
    registry.restart();
    until(&mut status, |it| matches!(it, ServerStatus::Serving)).await;
    assert_eq!(registry.entries().len(), 1);
    token.cancel();
    served.await.unwrap().unwrap();
    assert!(registry.entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_told_to_end_before_it_is_registered_lingers_for_nobody() {
    let registry = Registry::new();
    let token = CancellationToken::new();
    let (listener, address) = listener().await;
    let server = RegisteredServer::new(listener)
        .registrar(registrar(&registry, address).build())
        .check(std::future::pending::<Result<(), io::Error>>)
        .cancellation_token(token.clone());
    let served = tokio::spawn(server.serve(idle));
    sleep(seconds(3)).await;
    token.cancel();
    let asked = Instant::now();
    let served = served.await.unwrap().unwrap();
    assert_eq!(served.deregistered, [Deregistered::NotOurs]);
    assert_eq!(asked.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_is_refused_for_good_ends_the_server() {
    let registry = Registry::new();
    let (listener, address) = listener().await;
    let unspecified = Service::new(format!("{PREFIX}b"), "0.0.0.0:80").unwrap();
    let ended = RegisteredServer::new(listener)
        .registrar(registrar(&registry, address).build())
        .registrar(Registrar::new(registry.client(), unspecified))
        .serve(idle)
        .await;
    assert!(
        matches!(
            &ended,
            Err(ServeError::Register(Error::Invalid(
                Invalid::UncallableAddress { .. }
            )))
        ),
        "{ended:?}"
    );
    assert!(registry.entries().is_empty());
}

/// Ends `server` ten seconds after it is registered, and says how `serve` ended.
async fn ends_early(end: fn() -> Result<(), io::Error>) -> ServeError {
    let registry = Registry::new();
    let (listener, address) = listener().await;
    let server = RegisteredServer::new(listener)
        .registrar(registrar(&registry, address).drain(seconds(60)).build());
    let mut status = server.status();
    let start = Instant::now();
    let served = tokio::spawn(server.serve(move |_, _| async move {
        sleep(seconds(10)).await;
        end()
    }));
    until(&mut status, |it| matches!(it, ServerStatus::Serving)).await;
    let error = served.await.unwrap().unwrap_err();
    assert!(registry.entries().is_empty());
    assert_eq!(start.elapsed().as_secs(), 10, "nobody waits");
    error
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_early_is_deregistered_at_once() {
    let failed = ends_early(|| Err(io::Error::other("broken"))).await;
    assert!(matches!(&failed, ServeError::Server(error) if error.to_string() == "broken"));
    let ended = ends_early(|| Ok(())).await;
    assert!(matches!(ended, ServeError::EndedEarly));
    let panicked = ends_early(|| panic!("a bug")).await;
    assert!(matches!(&panicked, ServeError::Panicked { message } if message == "a bug"));
}

#[tokio::test(start_paused = true)]
async fn what_hangs_or_panics_at_the_drain_holds_nothing_up() {
    for hangs in [true, false] {
        let registry = Registry::new();
        let (listener, address) = listener().await;
        let token = CancellationToken::new();
        token.cancel();
        let start = Instant::now();
        let served = RegisteredServer::new(listener)
            .registrar(registrar(&registry, address).build())
            .cancellation_token(token)
            .on_drain(async move {
                match hangs {
                    true => std::future::pending().await,
                    false => panic!("a bug"),
                }
            })
            .serve(idle)
            .await;
        served.unwrap();
        assert!(start.elapsed() < seconds(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_end_is_left_behind() {
    let (listener, _) = listener().await;
    let token = CancellationToken::new();
    token.cancel();
    let start = Instant::now();
    let served = RegisteredServer::new(listener)
        .cancellation_token(token)
        .finish(seconds(20))
        .serve(|_, _| std::future::pending::<Result<(), io::Error>>())
        .await;
    served.unwrap();
    assert_eq!(start.elapsed().as_secs(), 21);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_deregisters_in_the_background() {
    let registry = Registry::new();
    let (listener, address) = listener().await;
    let server = RegisteredServer::new(listener).registrar(registrar(&registry, address).build());
    let mut status = server.status();
    let served = tokio::spawn(server.serve(idle));
    until(&mut status, |it| matches!(it, ServerStatus::Serving)).await;
    served.abort();
    assert!(served.await.unwrap_err().is_cancelled());
    sleep(seconds(1)).await;
    assert!(registry.entries().is_empty());
}
