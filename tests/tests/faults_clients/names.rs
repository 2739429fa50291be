//! Names that begin alike. (faults row 20)

use crate::{LONG, client, deregister, registrar, service};
use futures::future::join_all;
use sd_core::{Client, Deregistered, Prefix, Registrar};
use sd_etcd::EtcdClient;
use sd_tests::{Consumer, Etcd};

/// faults row 20
#[tokio::test]
async fn services_whose_names_begin_alike_do_not_see_each_other() {
    let etcd = Etcd::start().await;
    let client = client(etcd.endpoint());
    let keys = ["/svc/foo/a", "/svc/foobar/b", "/svc/foo0/c", "/svc/foo-d"];
    let registrars: Vec<_> = (1..)
        .zip(keys)
        .map(|(port, key)| {
            let service = service(key, LONG).with_value(format!("10.0.0.1:{port}"));
            registrar(&client, service)
        })
        .collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }
    etcd.put("/svc/foo", "10.0.0.1:99").await;

    let foo = Consumer::start(etcd.endpoint(), "/svc/foo").await;
    let foobar = Consumer::start(etcd.endpoint(), "/svc/foobar/").await;
    foo.settles_on(&["10.0.0.1:1"]).await;
    foobar.settles_on(&["10.0.0.1:2"]).await;

    // Neither do changes leak, nor do removals.
    etcd.put("/svc/foobar/z", "10.0.0.1:5").await;
    etcd.put("/svc/foo", "10.0.0.1:98").await;
    foobar.settles_on(&["10.0.0.1:2", "10.0.0.1:5"]).await;
    assert_eq!(deregister(&registrars[0]).await, Deregistered::Removed);
    foo.settles_on(&[]).await;
    foobar.settles_on(&["10.0.0.1:2", "10.0.0.1:5"]).await;
    assert!(etcd.get("/svc/foobar/b").await.is_some());
}

/// faults row 20, for prefixes on the side of the client.
#[tokio::test]
async fn namespaces_whose_names_begin_alike_do_not_see_each_other() {
    let etcd = Etcd::start().await;
    let within = |namespace: &str| {
        let builder = EtcdClient::builder([etcd.endpoint()]);
        builder.namespace(namespace).build().unwrap()
    };
    let (one, other) = (within("/ns"), within("/nsx"));

    let _one = one.register(&service("/svc/a", LONG)).await.unwrap();
    let _other = other.register(&service("/svc/b", LONG)).await.unwrap();

    assert_eq!(etcd.keys("/").await, ["/ns/svc/a", "/nsx/svc/b"]);
    let prefix = Prefix::new("/svc").unwrap();
    for (client, key) in [(one, "/svc/a"), (other, "/svc/b")] {
        let entries = client.get_entries(&prefix).await.unwrap().entries;
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].key.as_str(), key);
    }
}
