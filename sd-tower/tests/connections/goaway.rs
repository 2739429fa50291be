//! Connections that the server closes while calls go on.

use super::*;
use sd_core::{BoxError, ErrorChain};
use sd_tower::{ConnectError, Connection};

/// Whether the error proves that the server has not seen the call.
fn is_unsent(error: &BoxError) -> bool {
    let h2 = error.source().and_then(|it| it.downcast_ref::<h2::Error>());
    error.is::<ConnectError>() || h2.is_some_and(|it| it.is_go_away() && it.is_remote())
}

/// What a caller's retries do: makes the call again while nothing was sent.
async fn insist(connection: &Connection<Body>, path: &str) {
    loop {
        match text(connection, path).await {
            Ok(_) => return,
            Err(error) if is_unsent(&error) => {
                // It may be failing, as the server ends one connection after another.
                until(connection, |state| !state.is_failing()).await;
            }
            Err(error) => panic!("{}", ErrorChain(&*error)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_and_none_is_sent_twice() {
    let server = Server::start().await;
    let connection = connect(server.address, soon());
    ready(&connection).await;
    let callers = (0..8).map(|caller| {
        let connection = connection.clone();
        tokio::spawn(async move {
            for n in 0..500 {
                insist(&connection, &format!("/{caller}/{n}")).await;
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for hundred in 1..40 {
        server.answered(hundred * 100).await;
        server.drain();
    }
    for caller in callers {
        caller.await.unwrap();
    }
    for caller in 0..8 {
        for n in 0..500 {
            let path = format!("/{caller}/{n}");
            assert_eq!(server.requests(&path), 1, "{path}");
        }
    }
    assert!(server.accepted() > 2, "{} connections", server.accepted());
}

#[tokio::test]
async fn streams_go_on_while_calls_go_to_the_next_connection() {
    let server = Server::start().await;
    let connection = connect(server.address, once());
    let stream = get(&connection, "/stream").await.unwrap();
    server.waiting(1).await;
    server.drain();
    // No call is needed to notice.
    server.open(2).await;
    text(&connection, "/").await.unwrap();
    server.go_on();
    assert_eq!(read(stream).await.unwrap(), "first last");
    server.open(1).await;
    text(&connection, "/").await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_that_is_closed_is_replaced_without_a_call() {
    let server = Server::start().await;
    let connection = connect(server.address, once());
    server.open(1).await;
    ready(&connection).await;
    server.drain();
    while server.accepted() == 1 {
        tokio::task::yield_now().await;
    }
    ready(&connection).await;
    server.open(1).await;
}

#[tokio::test]
async fn calls_over_the_limit_of_streams_are_not_lost() {
    let server = Server::with_streams(1).await;
    let connection = connect(server.address, once());
    let call = |path| {
        let connection = connection.clone();
        tokio::spawn(async move { text(&connection, path).await })
    };
    let first = call("/wait");
    server.waiting(1).await;
    let others: Vec<_> = (0..10).map(|_| call("/a")).collect();
    server.drain();
    while server.accepted() == 1 {
        tokio::task::yield_now().await;
    }
    server.go_on();
    assert_eq!(in_time(first).await.unwrap().unwrap(), "waited");
    let mut unknown = 0;
    for call in others {
        if let Err(error) = in_time(call).await.unwrap() {
            assert!(error.is::<hyper::Error>(), "{error:?}");
            unknown += 1;
        }
    }
    assert!(unknown <= 1, "only the one that is next may not know");
    assert!(server.requests("/a") >= 9);
}
