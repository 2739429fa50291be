//! Connections that the server closes while calls go on.

use super::*;
use sd_core::{BoxError, ErrorChain};
use sd_tower::{ConnectError, ConnectErrorKind};

/// Whether the error proves that the server has not seen the call.
fn is_unsent(error: &BoxError) -> bool {
    let h2 = error.source().and_then(|it| it.downcast_ref::<h2::Error>());
    error.is::<ConnectError>() || h2.is_some_and(|it| it.is_go_away() && it.is_remote())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_and_none_is_sent_twice() {
    let server = Server::start().await;
    let connection = connect(server.address, soon());
    ready(&connection).await;
    let callers = (0..8).map(|caller| {
        let connection = connection.clone();
        tokio::spawn(async move {
            let mut unsent = Vec::new();
            for n in 0..500 {
                let path = format!("/{caller}/{n}");
                match text(&connection, &path).await {
                    Ok(_) => {}
                    Err(error) if is_unsent(&error) => unsent.push(path),
                    Err(error) => panic!("{}", ErrorChain(&*error)),
                }
            }
            unsent
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut drained = 0;
    while !callers.iter().all(|it| it.is_finished()) {
        let before = server.accepted();
        server.drain();
        drained += 1;
        while server.accepted() == before && !callers.iter().all(|it| it.is_finished()) {
            tokio::task::yield_now().await;
        }
    }
    let mut unsent = Vec::new();
    for caller in callers {
        unsent.extend(caller.await.unwrap());
    }
    for caller in 0..8 {
        for n in 0..500 {
            let path = format!("/{caller}/{n}");
            let expected = usize::from(!unsent.contains(&path));
            assert_eq!(server.requests(&path), expected, "{path}");
        }
    }
    eprintln!("{drained} drains, {} unsent", unsent.len());
}

#[tokio::test]
async fn streams_go_on_while_calls_go_to_the_next_connection() {
    let server = Server::start().await;
    let connection = connect(server.address, once());
    let stream = get(&connection, "/stream").await.unwrap();
    server.waiting(1).await;
    server.drain();
    // The first call after it may be the one that notices.
    while server.accepted() == 1 {
        text(&connection, "/").await.unwrap();
    }
    server.open(2).await;
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
async fn a_call_that_waits_for_a_stream_when_the_server_closes_is_known_to_be_unsent() {
    let server = Server::with_streams(1).await;
    let connection = connect(server.address, once());
    let wait = || {
        let connection = connection.clone();
        tokio::spawn(async move { text(&connection, "/wait").await })
    };
    let first = wait();
    server.waiting(1).await;
    let (second, third) = (wait(), wait());
    tokio::task::yield_now().await;
    server.drain();
    while server.accepted() == 1 {
        tokio::task::yield_now().await;
    }
    let mut answers = Vec::new();
    let answer = async {
        for call in [first, second, third] {
            answers.push(call.await.unwrap());
        }
    };
    let going_on = async {
        loop {
            server.go_on();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = in_time(answer) => {}
        () = going_on => {}
    }
    let sent = answers.iter().filter(|it| it.is_ok()).count();
    assert_eq!(server.requests("/wait"), sent);
    for error in answers.into_iter().filter_map(Result::err) {
        assert_eq!(kind(&error), ConnectErrorKind::Closed);
    }
}
