//! Options that nobody should need.

use super::{in_time, prefix, secs, service};
use sd_core::{Deregistered, Instancer, Registrar};
use sd_etcd::{EtcdClient, EtcdClientBuilder, Resolve};
use sd_tests::Etcd;
use std::{future::pending, io, net::SocketAddr, time::Duration};

type Case = (&'static str, fn(EtcdClientBuilder) -> EtcdClientBuilder);

const MAX: Duration = Duration::MAX;

const CASES: [Case; 9] = [
    ("request", |builder| builder.request_timeout(MAX)),
    ("dial", |builder| builder.dial_timeout(MAX)),
    ("authentication", |builder| {
        builder.authentication_timeout(MAX)
    }),
    ("deregister", |builder| builder.deregister_timeout(MAX)),
    ("interval", |builder| builder.liveness(MAX, secs(3))),
    ("silence", |builder| builder.liveness(secs(1), MAX)),
    ("ping", |builder| builder.keep_alive(MAX, MAX)),
    ("members", |builder| builder.follow_members(MAX)),
    ("sizes", |builder| {
        let builder = builder.page_size(u32::MAX);
        builder
            .max_request_bytes(usize::MAX)
            .max_message_bytes(usize::MAX)
    }),
];

/// Row 44: whatever is too long is as good as for ever, and all else works as before.
#[tokio::test]
async fn any_duration_can_be_given() {
    let etcd = Etcd::setup().token_ttl(300).start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/svc/").await;

    for (case, set) in CASES {
        let builder = EtcdClient::builder([etcd.endpoint()]).user("discovery", "secret");
        let client = set(builder).build().expect(case);
        let key = format!("/svc/{case}");
        let registrar = Registrar::new(client.clone(), service(&key, 2).with_value("10.0.0.1:80"));
        in_time(registrar.register()).await.expect(case);
        let instancer = Instancer::new(client.clone(), prefix());
        in_time(instancer.ready()).await.expect(case);

        // Beyond the lease: it is kept alive.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(etcd.keys("/svc/").await, [key.as_str()], "{case}");
        let event = instancer.state().unwrap();
        assert!(event.health().is_live(), "{case}");
        assert_eq!(event.instances().len(), 1, "{case}");

        let removed = in_time(registrar.deregister()).await;
        assert_eq!(removed.unwrap(), Deregistered::Removed, "{case}");
        in_time(client.close()).await;
    }
}

struct BlackHole;

#[async_trait::async_trait]
impl Resolve for BlackHole {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        pending().await
    }
}

/// Row 44: name servers that do not answer.
#[tokio::test]
async fn a_resolver_that_does_not_answer_holds_up_nobody() {
    let builder = EtcdClient::builder(["http://etcd.test:2379"]);
    let client = builder.resolver(BlackHole).dial_timeout(secs(1));
    let client = client.build().unwrap();
    let instancer = Instancer::new(client.clone(), prefix());

    let error = instancer.ready_within(secs(3)).await.unwrap_err();
    assert!(error.to_string().contains("cannot be resolved"), "{error}");
    in_time(instancer.stop()).await;
    in_time(client.close()).await;
}
