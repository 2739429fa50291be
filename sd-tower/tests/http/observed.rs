//! Calls as observers hear of them.

use crate::{
    client::*,
    server::{Behaviour, Server, full},
};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, channel::Channel};
use sd_core::{
    Balancer, BoxError, EndedCall, EndpointSource, NoEndpoints, Observer, Outcome, Pick,
    PickContext, RoundRobin,
};
use sd_tower::{CallPolicy, HttpEndpoints, HttpErrorKind, HttpService, HttpTarget};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What was heard of calls.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<watch::Sender<Calls>>);

#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    pub(crate) under_way: usize,
    pub(crate) answered: usize,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Observer for Heard {
    fn needs_times(&self) -> bool {
        false
    }

    fn picked(&self) {
        self.0.send_modify(|calls| calls.under_way += 1);
    }

    fn answered(&self, _: Duration) {
        self.0.send_modify(|calls| calls.answered += 1);
    }

    fn ended(&self, call: &EndedCall) {
        self.0.send_modify(|calls| {
            calls.under_way -= 1;
            calls.outcomes.push(call.outcome);
        });
    }
}

impl Heard {
    pub(crate) fn calls(&self) -> Calls {
        self.0.borrow().clone()
    }

    /// Waits for the outcomes of all calls so far.
    pub(crate) async fn outcomes(&self) -> Vec<Outcome> {
        let mut calls = self.0.subscribe();
        let ended = calls.wait_for(|calls| calls.under_way == 0);
        in_time(ended).await.unwrap().outcomes.clone()
    }

    /// A balancer whose calls are heard of.
    pub(crate) fn balancer(
        &self,
    ) -> impl FnOnce(HttpEndpoints) -> ObservedBalancer + Send + 'static + use<> {
        let heard = self.clone();
        |endpoints| ObservedBalancer {
            balancer: RoundRobin::new(endpoints),
            heard,
        }
    }
}

pub(crate) struct ObservedBalancer {
    balancer: RoundRobin<HttpEndpoints>,
    heard: Heard,
}

impl Balancer for ObservedBalancer {
    type Target = HttpTarget;

    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<HttpTarget>, NoEndpoints> {
        let pick = self.balancer.pick(context)?;
        let observed = pick.endpoint().observed_by(Arc::new(self.heard.clone()));
        Ok(Pick::new(Arc::new(observed)))
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.balancer.versions()
    }
}

/// A service whose calls are heard of.
pub(crate) async fn heard(server: &Server) -> (HttpService, Heard) {
    let heard = Heard::default();
    let builder = service([server]).balancer(heard.balancer());
    let once = CallPolicy::new().max_attempts(1);
    let hello = ready(builder.policy(once), 1).await;
    // To be ready is to pick one.
    heard.0.send_replace(Calls::default());
    (hello, heard)
}

#[tokio::test]
async fn a_call_lasts_until_its_body_has_ended() {
    let server = Server::start().await;
    let (hello, heard) = heard(&server).await;

    let response = send(&hello, get("/a")).await.unwrap();
    let calls = heard.calls();
    assert_eq!((calls.under_way, calls.answered), (1, 1));
    read(response).await.unwrap();
    assert_eq!(heard.outcomes().await, [Outcome::Success]);

    send(&hello, request(Method::HEAD, "/a", full("")))
        .await
        .unwrap();
    let outcomes = heard.calls().outcomes;
    assert_eq!(
        outcomes,
        [Outcome::Success; 2],
        "ended, though the response is kept"
    );

    drop(send(&hello, get("/endless")).await.unwrap());
    assert_eq!(heard.outcomes().await[2..], [Outcome::Cancelled]);
}

#[tokio::test]
async fn answers_say_how_an_endpoint_does() {
    let server = Server::start().await;
    let (hello, heard) = heard(&server).await;
    for status in [404, 501, 429, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        server.behave(Behaviour::Refuses(status, None));
        let response = send(&hello, post("/a", "")).await.unwrap();
        assert_eq!(response.status(), status);
        read(response).await.unwrap();
    }
    server.behave(Behaviour::Breaks);
    let error = send(&hello, post("/a", "")).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::Connection);
    server.behave(Behaviour::BreaksBody);
    let response = send(&hello, post("/a", "")).await.unwrap();
    let error = read(response).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::Connection);
    assert!(
        error
            .to_string()
            .starts_with("the response has broken off: ")
    );
    use Outcome::{Failure, Overloaded, Success};
    let outcomes = heard.outcomes().await;
    let expected = [
        Success, Success, Overloaded, Failure, Failure, Failure, Failure,
    ];
    assert_eq!(outcomes, expected);
}

#[tokio::test]
async fn an_endpoint_is_not_blamed_for_a_request_that_breaks_off() {
    let server = Server::start().await;
    let (hello, heard) = heard(&server).await;
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let broken = async {
        sender.send_data(Bytes::from("first")).await.unwrap();
        server.open(1).await;
        sender.abort("the disk is gone".into());
    };
    let request = request(Method::PUT, "/a", body.boxed_unsync());
    let (response, ()) = tokio::join!(send(&hello, request), broken);
    let error = response.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::InvalidRequest);
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(heard.outcomes().await, [Outcome::Cancelled]);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_and_the_server_hears_of_it() {
    let server = Server::start().await;
    let (hello, heard) = heard(&server).await;
    server.behave(Behaviour::NeverAnswers);
    let call = tokio::spawn(async move { hello.request(get("/a")).await.map(drop) });
    server.under_way(1).await;
    call.abort();
    server.under_way(0).await;
    assert_eq!(heard.outcomes().await, [Outcome::Cancelled]);
}

#[tokio::test]
async fn streams_that_are_under_way_go_on_without_their_instance() {
    let server = Server::start().await;
    let instances = instances([server.address]);
    let (source, hello) = {
        let source = Arc::new(instances);
        let hello = ready(HttpService::builder(source.clone()), 1).await;
        (source, hello)
    };
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let request = request(Method::POST, "/echo", body.boxed_unsync());
    let response = send(&hello, request).await.unwrap();
    let mut body = response.into_body();
    source.remove(&format!("/hello/{}", server.address));
    let endpoints = hello.endpoints();
    let mut versions = endpoints.versions();
    in_time(versions.wait_for(|_| endpoints.endpoints().is_empty()))
        .await
        .unwrap();
    drop(hello);

    sender.send_data(Bytes::from("still here")).await.unwrap();
    let frame = in_time(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "still here");
    drop(sender);
    assert!(in_time(body.frame()).await.is_none());
}
