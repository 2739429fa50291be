//! HTTP within TLS.

use crate::{
    client::*,
    observed::Heard,
    server::{Server, empty},
};
use futures::FutureExt;
use http::{Request, Version};
use rcgen::CertifiedKey;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use sd_core::Outcome;
use sd_tower::{
    CallPolicy, ConnectError, ConnectErrorKind, ConnectOptions, HttpOptions, HttpService,
    HttpVersions, Tls,
};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server with a certificate for `name`, and what trusts it.
async fn server(name: &str, alpn: &[&str]) -> (Server, Tls) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(signing_key.serialize_pem().as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
    let server = Server::with_tls(TlsAcceptor::from(Arc::new(config))).await;
    (server, Tls::builder().ca(cert.pem()).build().unwrap())
}

fn https(host: &str) -> Request<crate::server::Body> {
    Request::get(format!("https://{host}/a"))
        .body(empty())
        .unwrap()
}

#[tokio::test]
async fn the_server_chooses_the_version_among_those_that_are_offered() {
    use HttpVersions::{Http1, Http2, Negotiated};
    for (alpn, versions, version) in [
        (&["h2", "http/1.1"][..], Negotiated, Version::HTTP_2),
        (&["http/1.1"], Negotiated, Version::HTTP_11),
        (&[], Negotiated, Version::HTTP_11),
        (&["h2", "http/1.1"], Http1, Version::HTTP_11),
        (&["h2", "http/1.1"], Http2, Version::HTTP_2),
    ] {
        let (server, tls) = server("hello", alpn).await;
        let builder = service([&server])
            .connect(ConnectOptions::new().tls(tls))
            .http(HttpOptions::new().versions(versions));
        let hello = ready(builder, 1).await;
        text(&hello, https("hello")).await.unwrap();
        let received = server.only();
        assert_eq!(received.version, version, "{alpn:?} {versions:?}");
        assert_eq!(received.host, "hello");
    }
}

#[tokio::test]
async fn a_server_without_http2_is_known_as_such() {
    let (server, tls) = server("hello", &["http/1.1"]).await;
    let builder = service([&server])
        .connect(ConnectOptions::new().tls(tls))
        .http(HttpOptions::new().versions(HttpVersions::Http2));
    let hello = ready(builder, 1).await;
    let error = text(&hello, https("hello")).await.unwrap_err();
    let connect: &ConnectError = source_of(&error).unwrap();
    assert_eq!(connect.kind(), ConnectErrorKind::Tls);
}

#[tokio::test]
async fn the_name_expected_from_the_server_is_the_host_of_the_uri_or_one_for_all() {
    let (server, tls) = server("hello", &["h2"]).await;
    let options = |tls| ConnectOptions::new().tls(tls);
    let hello = ready(service([&server]).connect(options(tls.clone())), 1).await;
    text(&hello, https("hello:8443")).await.unwrap();
    assert_eq!(server.only().host, "hello:8443");
    let error = text(&hello, https("another")).await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");

    let named = options(tls.with_server_name("hello").unwrap());
    let hello = ready(service([&server]).connect(named), 1).await;
    text(&hello, https("another")).await.unwrap();
    // Without a host, the scheme is that of the connection.
    let request = Request::get("/a").body(empty()).unwrap();
    text(&hello, request).await.unwrap();
    let last = server.received().pop().unwrap();
    assert_eq!(last.scheme.as_deref(), Some("https"));
}

#[tokio::test]
async fn who_waited_for_the_connect_of_somebody_who_went_away_blames_nobody() {
    // Accepts connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_server, tls) = server("hello", &["h2"]).await;
    let heard = Heard::default();
    let minute = Duration::from_secs(60);
    let builder = HttpService::builder(instances([silent.local_addr().unwrap()]))
        .connect(ConnectOptions::new().tls(tls).timeout(minute))
        .http(HttpOptions::new().versions(HttpVersions::Http2))
        .policy(CallPolicy::new().answer_timeout(minute))
        .balancer(heard.balancer());
    let hello = builder.build();
    in_time(hello.ready()).await.unwrap();
    assert_eq!(heard.outcomes().await, [Outcome::Cancelled]);

    let mut first = Box::pin(hello.request(https("hello")));
    assert!((&mut first).now_or_never().is_none(), "it connects");
    let mut second = Box::pin(hello.request(https("hello")));
    assert!(
        (&mut second).now_or_never().is_none(),
        "it waits for the first"
    );
    drop(first);
    assert!((&mut second).now_or_never().is_none(), "it tries again");
    // That it was ready, the first, and what the second has waited for.
    tokio::task::yield_now().await;
    assert!((&mut second).now_or_never().is_none(), "it connects");
    let calls = heard.calls();
    assert_eq!(calls.outcomes, [Outcome::Cancelled; 3]);
    assert_eq!(calls.under_way, 1);
}
