//! Services by name.

use crate::{
    client::*,
    server::{Body, empty, full},
};
use http::{Request, Response};
use sd_core::{BoxError, EndpointSource, Event, EventPublisher, Source};
use sd_tower::{HttpErrorKind, HttpService, HttpServices, RequestBody};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::{ServiceExt, service_fn};

/// A service that says its name.
fn named(name: &str, source: impl Source) -> HttpService {
    let name = name.to_owned();
    let builder = HttpService::builder(source).in_process(move |_| {
        let name = name.clone();
        Ok(service_fn(move |_: Request<RequestBody>| {
            let response: Response<Body> = Response::new(full(name.clone()));
            async { Ok::<_, BoxError>(response) }
        }))
    });
    builder.build()
}

/// Services of which each is made from one instance, and the names that were made.
fn services() -> (sd_tower::HttpServicesBuilder, Arc<Mutex<Vec<String>>>) {
    let made = Arc::new(Mutex::new(Vec::new()));
    let noted = made.clone();
    let builder = HttpServices::builder(move |name| {
        if name.starts_with("un") {
            return Err("it is not in the list".into());
        }
        noted.lock().unwrap().push(name.to_owned());
        Ok(named(name, instances(["a:80"])))
    });
    (builder, made)
}

fn to(uri: &str) -> Request<Body> {
    Request::get(uri).body(empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_host_of_a_uri_names_the_service() {
    let (builder, made) = services();
    let services = builder.build();
    for (request, name) in [
        (to("http://hello/a"), "hello"),
        (to("http://users:8080/b"), "users"),
        (to("http://hello/c"), "hello"),
    ] {
        let response = services.request(request).await.unwrap();
        assert_eq!(read(response).await.unwrap(), name);
    }
    let mut by_header = to("/d");
    by_header
        .headers_mut()
        .insert("host", "users".parse().unwrap());
    let response = services.clone().oneshot(by_header).await.unwrap();
    assert_eq!(read(response).await.unwrap(), "users");
    assert_eq!(*made.lock().unwrap(), ["hello", "users"]);

    let error = services.request(to("http://unknown/a")).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::UnknownService);
    assert_eq!(
        error.to_string(),
        "there is no service unknown: it is not in the list"
    );
    let error = services.request(to("/a")).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn the_first_request_waits_until_the_registry_has_answered() {
    let (publisher, reader) = EventPublisher::channel();
    let reader = Arc::new(reader);
    let services = HttpServices::new(move |name| Ok(named(name, reader.clone())));
    let error = services.request(to("http://hello/a")).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::NoEndpoints, "after a second");

    let answered = async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        publisher.publish(Event::new(
            1,
            instances(["a:80"]).state().unwrap().instances().clone(),
        ));
    };
    let (response, ()) = tokio::join!(services.request(to("http://hello/a")), answered);
    assert_eq!(read(response.unwrap()).await.unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_used_is_dropped_and_made_again() {
    let (builder, made) = services();
    let services = builder.idle_timeout(Duration::from_secs(60)).build();
    let _held = services.get("held").await.unwrap();
    services.get("used").await.unwrap();
    services.get("idle").await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(31)).await;
        services.get("used").await.unwrap();
    }
    made.lock().unwrap().clear();
    for name in ["held", "used", "idle"] {
        services.get(name).await.unwrap();
    }
    assert_eq!(*made.lock().unwrap(), ["idle"]);
}

#[tokio::test(start_paused = true)]
async fn names_without_end_do_not_fill_the_memory() {
    let (builder, made) = services();
    let services = builder.max_services(3).build();
    let mut endpoints = Vec::new();
    for n in 0..100 {
        let service = services.get(&format!("name-{n}")).await.unwrap();
        endpoints.push(service.endpoints().versions());
    }
    tokio::task::yield_now().await;
    let followed = endpoints
        .iter()
        .filter(|versions| versions.has_changed().is_ok());
    assert_eq!(followed.count(), 3);
    assert_eq!(made.lock().unwrap().len(), 100);
}
