//! What generated clients and servers can do, as with tonic's own channel.

use crate::fleet::{
    Behaviour, PATIENCE, TestGreeter, TestServer, connected, eventually, fleet, greeter, named,
    register,
};
use sd_core::{FixedInstancer, Instance, Key, RoundRobin};
use sd_example_proto::{
    GreetOftenRequest, greeter_client::GreeterClient, greeter_server::GreeterServer,
};
use sd_memory::Registry;
use sd_tower::{CallPolicy, Channel, ConnectError, ConnectOptions, Tls};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status, codec::CompressionEncoding};

#[tokio::test]
async fn interceptors_compression_and_limits_are_the_clients_own() {
    let registry = Registry::new();
    let gzip = CompressionEncoding::Gzip;
    let server = TestServer::start_with(&registry, |greeter| {
        let service = GreeterServer::new(greeter).accept_compressed(gzip);
        tonic::transport::Server::builder().add_service(service.send_compressed(gzip))
    })
    .await;
    let channel = connected(&registry, 1, |channel| channel).await;

    let signs = |mut request: Request<()>| {
        request.metadata_mut().insert("user", "17".parse().unwrap());
        Ok(request)
    };
    let mut signed = GreeterClient::with_interceptor(channel.clone(), signs);
    signed.greet(named("Ada")).await.unwrap();
    assert_eq!(
        server.greeter.received()[0].metadata.get("user").unwrap(),
        "17"
    );
    let refuses = |_| Err(Status::unauthenticated("who is it"));
    let mut refused = GreeterClient::with_interceptor(channel.clone(), refuses);
    let status = refused.greet(named("Ada")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);

    let mut compressed = greeter(&channel)
        .send_compressed(gzip)
        .accept_compressed(gzip);
    let long = "x".repeat(10_000);
    let reply = compressed.greet(named(&long)).await.unwrap();
    assert_eq!(reply.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(reply.into_inner().greeting, format!("Hello, {long}"));
    let received = server.greeter.received();
    let encoding = received[1].metadata.get("grpc-encoding");
    assert_eq!(encoding.unwrap(), "gzip");

    let mut limited = greeter(&channel).max_decoding_message_size(100);
    limited.greet(named("Ada")).await.unwrap();
    let status = limited.greet(named(&long)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
}

#[tokio::test]
async fn details_of_a_status_come_through_and_hostile_ones_do_not_panic() {
    let (registry, [server]) = fleet().await;
    let channel = connected(&registry, 1, |channel| channel).await;
    let status = Status::with_details(Code::NotFound, "no", b"details"[..].into());
    server.greeter.behave(Behaviour::Fails(status));
    let status = greeter(&channel).greet(named("Ada")).await.unwrap_err();
    assert_eq!(status.details(), b"details");

    // A service that writes them itself: in a head, and in trailers.
    let hostile = tower::service_fn(|request: http::Request<tonic::body::Body>| async move {
        let trailers = || {
            let headers = [
                ("grpc-status", "5"),
                ("grpc-status-details-bin", "not base64"),
            ];
            let parse = |(name, value): (&'static str, &'static str)| {
                let name = http::HeaderName::from_static(name);
                (name, http::HeaderValue::from_static(value))
            };
            headers.map(parse).into_iter().collect::<http::HeaderMap>()
        };
        let mut response = http::Response::new(tonic::body::Body::empty());
        if request.uri().path().ends_with("GreetOften") {
            let frame = Ok::<_, Status>(http_body::Frame::trailers(trailers()));
            let body = http_body_util::StreamBody::new(tokio_stream::once(frame));
            response = http::Response::new(tonic::body::Body::new(body));
        } else {
            *response.headers_mut() = trailers();
        }
        Ok::<_, std::convert::Infallible>(response)
    });
    let instance = Instance::new(Key::new("/a").unwrap(), "in the process");
    let channel = Channel::builder(FixedInstancer::new([instance]))
        .in_process(move |_| Ok(hostile))
        .build();
    channel.ready().await.unwrap();
    let status = greeter(&channel).greet(named("Ada")).await.unwrap_err();
    assert_eq!(
        (status.code(), status.details()),
        (Code::NotFound, &b""[..])
    );
    let often = GreetOftenRequest::default();
    let mut replies = greeter(&channel)
        .greet_often(often)
        .await
        .unwrap()
        .into_inner();
    let status = replies.message().await.unwrap_err();
    assert_eq!(
        (status.code(), status.details()),
        (Code::NotFound, &b""[..])
    );
}

/// The instances `a` and `b`.
fn two() -> FixedInstancer {
    let instance = |name: &&str| Instance::new(Key::new(format!("/{name}")).unwrap(), *name);
    FixedInstancer::new(["a", "b"].iter().map(instance))
}

#[tokio::test]
async fn servers_in_the_process_are_called_as_others_are() {
    let greeters = ["a", "b"].map(TestGreeter::new);
    let of_instances = greeters.clone();
    let moment = Duration::from_millis(50);
    let channel = Channel::builder(two())
        .in_process(move |instance| {
            let mut greeters = of_instances.iter();
            let greeter = greeters.find(|one| one.from == instance.address());
            Ok(GreeterServer::new(greeter.ok_or("unknown")?.clone()))
        })
        .balancer(RoundRobin::new)
        .policy(CallPolicy::new().retry_on([Code::Unavailable]))
        .build();
    channel.ready().await.unwrap();
    let mut client = greeter(&channel);

    let mut from = BTreeSet::new();
    for _ in 0..2 {
        from.insert(client.greet(named("Ada")).await.unwrap().into_inner().from);
    }
    assert_eq!(from.len(), 2);
    let names = || tokio_stream::iter(["Ada", "Grace"].map(named));
    let reply = client.greet_all(names()).await.unwrap().into_inner();
    assert_eq!(reply.greeting, "Hello, Ada and Grace");
    let replies = client.greet_each(names()).await.unwrap().into_inner();
    assert_eq!(replies.collect::<Vec<_>>().await.len(), 2);

    // Retries, with the streams of requests replayed.
    greeters[0].behave(Behaviour::Fails(Status::unavailable("not now")));
    for _ in 0..2 {
        let reply = client.greet_all(names()).await.unwrap().into_inner();
        assert_eq!(
            (&*reply.greeting, &*reply.from),
            ("Hello, Ada and Grace", "b")
        );
    }

    // Deadlines and cancellation.
    for greeter in &greeters {
        greeter.behave(Behaviour::NeverAnswers);
    }
    let mut request = Request::new(named("Ada"));
    request.set_timeout(moment);
    let status = client.greet(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    timeout(moment, client.greet(named("Ada")))
        .await
        .unwrap_err();
    let under_way = || greeters.iter().map(TestGreeter::under_way).sum::<usize>();
    eventually("all have ended", || under_way() == 0).await;
    for greeter in &greeters {
        greeter.behave(Behaviour::Greets);
    }
    let open = tokio_stream::once(named("Ada")).chain(tokio_stream::pending());
    let mut replies = client.greet_each(open).await.unwrap().into_inner();
    replies.message().await.unwrap().unwrap();
    drop(replies);
    eventually("all have ended", || under_way() == 0).await;
}

/// A greeter behind TLS, whose certificate is for `greeter.internal`.
async fn serve_tls(registry: &Registry) -> (String, sd_core::Registrar, impl Sized) {
    let names = ["greeter.internal".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).unwrap();
    let key = certificate.signing_key.serialize_der().try_into().unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = GreeterServer::new(TestGreeter::new(&address));
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, service) = (acceptor.clone(), service.clone());
            connections.spawn(async move {
                // Not all clients trust it.
                let Ok(tls) = acceptor.accept(tcp).await else {
                    return;
                };
                let executor = hyper_util::rt::TokioExecutor::new();
                let service = hyper_util::service::TowerToHyperService::new(service);
                let http2 = hyper::server::conn::http2::Builder::new(executor);
                let _ = http2
                    .serve_connection(hyper_util::rt::TokioIo::new(tls), service)
                    .await;
            });
        }
    });
    let registrar = register(registry.client(), &address).await;
    let task = tokio_util::task::AbortOnDropHandle::new(task);
    (certificate.cert.pem(), registrar, task)
}

#[tokio::test]
async fn with_tls_the_name_of_the_service_is_expected() {
    let registry = Registry::new();
    let (ca, _registrar, _server) = serve_tls(&registry).await;
    let options = |name: &str| {
        let tls = Tls::builder().ca(ca.clone()).server_name(name);
        ConnectOptions::new().tls(tls.build().unwrap())
    };
    let named_so = options("greeter.internal");
    let channel = connected(&registry, 1, |channel| channel.connect(named_so)).await;
    let reply = greeter(&channel).greet(named("Ada")).await.unwrap();
    assert_eq!(reply.into_inner().greeting, "Hello, Ada");

    let instancer = crate::fleet::instancer(&registry);
    let builder = Channel::builder(instancer).connect(options("other.internal"));
    let policy = CallPolicy::new().wait_for_endpoints(PATIENCE);
    let channel = builder.policy(policy).build();
    let status = greeter(&channel).greet(named("Ada")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        crate::fleet::has_source::<ConnectError>(&status),
        "{status:?}"
    );
    assert!(status.message().contains("TLS failed"), "{status:?}");
}
