//! Providers at a registry that is away, and entries that no registry would take.

use etcd_client::{EventType, WatchOptions};
use futures::future::join_all;
use sd_core::{
    Client, Deregistered, Error, Instancer, Invalid, Key, Prefix, Reclaimed, Registrar,
    RegistrarStatus, Registration, Service, Trouble, Ttl,
};
use sd_etcd::EtcdClient;
use sd_tests::{Consumer, Etcd, PATIENCE, Proxy, eventually, throughout};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// How long a deregistration may take in these tests.
const BOUND: Duration = Duration::from_millis(500);
/// What a slow machine may add to a bound, still far below any that would apply instead.
const SLACK: Duration = Duration::from_secs(2);
/// A lease that ends long after a test has lost its patience.
const LONG: u64 = 600;

fn client(endpoint: impl Into<String>) -> EtcdClient {
    EtcdClient::builder([endpoint])
        .deregister_timeout(BOUND)
        .build()
        .unwrap()
}

fn service(key: &str, ttl: u64) -> Service {
    let ttl = Ttl::from_secs(ttl).unwrap();
    Service::new(key, format!("10.0.0.1:{}", key.len()))
        .unwrap()
        .with_ttl(ttl)
}

fn registrar(client: &EtcdClient, service: Service) -> Registrar {
    Registrar::builder(client.clone(), service)
        .deregister_timeout(2 * BOUND)
        .build()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// What `deregister` answers, and that it does so within its bound.
async fn deregister(registrar: &Registrar) -> Deregistered {
    timeout(2 * BOUND + SLACK, registrar.deregister())
        .await
        .expect("within its bound")
        .unwrap()
}

/// What ever happened to `key`, from etcd's own history.
async fn history(etcd: &Etcd, key: &str) -> Vec<EventType> {
    // Comes after whatever has happened, and tells where to stop.
    let end = etcd.put(key, "the end").await;
    let mut client = etcd.client().await;
    let options = WatchOptions::new().with_start_revision(1);
    let mut watch = client.watch(key, Some(options)).await.unwrap();
    let mut events = Vec::new();
    loop {
        let response = in_time(watch.message()).await.unwrap().unwrap();
        for event in response.events() {
            if event.kv().unwrap().mod_revision() == end {
                return events;
            }
            events.push(event.event_type());
        }
    }
}

async fn is_gone(etcd: &Etcd, key: &str, within: Duration) {
    eventually(within, "the key gone", || etcd.get(key), Option::is_none).await;
}

// === Row 12: deregistering ===

/// Away in one of two ways.
#[derive(Debug, Clone, Copy)]
enum Away {
    Down,
    Frozen,
}

impl Away {
    fn begin(self, etcd: &Etcd) {
        match self {
            Self::Down => etcd.kill(),
            Self::Frozen => etcd.freeze(),
        }
    }

    async fn end(self, etcd: &Etcd) {
        match self {
            Self::Down => etcd.start_again().await,
            Self::Frozen => etcd.thaw(),
        }
    }
}

/// Of two services on one lease, one goes while etcd is away.
async fn one_of_two_deregisters_while_etcd_is(away: Away) {
    let etcd = Etcd::start().await;
    let client = client(etcd.endpoint());
    let going = registrar(&client, service("/svc/going", LONG));
    let staying = registrar(&client, service("/svc/staying", LONG));
    in_time(going.register()).await.unwrap();
    in_time(staying.register()).await.unwrap();
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    consumer.settles_on(&["10.0.0.1:10", "10.0.0.1:12"]).await;
    let stood = etcd.entry("/svc/staying").await.unwrap();

    away.begin(&etcd);
    let outcome = deregister(&going).await;
    away.end(&etcd).await;

    assert_eq!(outcome, Deregistered::Unconfirmed);
    // No lease ends meanwhile: the client goes on trying.
    let settled = throughout(
        consumer.settles_on(&["10.0.0.1:12"]),
        "the other to call",
        async || consumer.view(),
        |view| view.has("10.0.0.1:12"),
    );
    settled.await;
    assert_eq!(etcd.get("/svc/going").await, None);
    let stands = etcd.entry("/svc/staying").await.unwrap();
    assert_eq!(
        (stands.lease(), stands.mod_revision()),
        (stood.lease(), stood.mod_revision()),
        "the other was left alone"
    );
    assert_eq!(etcd.leases().await, [stood.lease()]);
    assert!(staying.status().borrow().is_registered());
    let asked_again = deregister(&going).await;
    assert_ne!(asked_again, Deregistered::Unconfirmed);
    assert_eq!(
        history(&etcd, "/svc/going").await,
        [EventType::Put, EventType::Delete]
    );
}

/// faults row 12
#[tokio::test]
async fn deregistering_from_a_frozen_etcd_is_bounded_and_comes_true_at_the_thaw() {
    one_of_two_deregisters_while_etcd_is(Away::Frozen).await;
}

/// faults row 12
#[tokio::test]
async fn deregistering_while_etcd_is_down_is_bounded_and_comes_true_when_it_is_back() {
    one_of_two_deregisters_while_etcd_is(Away::Down).await;
}

/// faults row 12, with nobody left who could go on trying.
#[tokio::test]
async fn what_could_not_be_deregistered_ends_with_its_lease() {
    let etcd = Etcd::start().await;
    let (closed, dropped) = (client(etcd.endpoint()), client(etcd.endpoint()));
    let of_closed = registrar(&closed, service("/svc/closed", 2));
    let of_dropped = registrar(&dropped, service("/svc/dropped", 2));
    in_time(of_closed.register()).await.unwrap();
    in_time(of_dropped.register()).await.unwrap();

    etcd.freeze();
    let outcomes = tokio::join!(deregister(&of_closed), deregister(&of_dropped));
    drop((of_closed, of_dropped, dropped));
    let close = timeout(BOUND + SLACK, closed.close());
    close.await.expect("closed within its bound");
    etcd.thaw();

    let unconfirmed = Deregistered::Unconfirmed;
    assert_eq!(outcomes, (unconfirmed, unconfirmed));
    let ttl_and_one = Duration::from_secs(3);
    is_gone(&etcd, "/svc/closed", ttl_and_one + SLACK).await;
    is_gone(&etcd, "/svc/dropped", ttl_and_one + SLACK).await;
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
    for key in ["/svc/closed", "/svc/dropped"] {
        let history = history(&etcd, key).await;
        assert_eq!(history, [EventType::Put, EventType::Delete], "{key}");
    }
}

/// faults row 12, at every moment of putting a lost entry back.
#[tokio::test]
async fn deregistering_while_re_registering_wins() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    let clients: Vec<_> = (0..8).map(|_| client(proxy.endpoint())).collect();
    let provide = |(n, client)| registrar(client, service(&format!("/svc/{n}"), 2));
    let registrars: Vec<_> = clients.iter().enumerate().map(provide).collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }

    // Each lease and each put takes its time, so that the freeze meets some of both.
    proxy.delay(Duration::from_millis(100));
    let lost = etcd.leases().await;
    join_all(lost.iter().map(|lease| etcd.revoke(*lease))).await;
    let new = || etcd.leases();
    let renewed = |leases: &Vec<i64>| leases.iter().any(|lease| !lost.contains(lease));
    eventually(PATIENCE, "the first new lease", new, renewed).await;
    etcd.freeze();
    let staggered = registrars.iter().enumerate().map(async |(n, registrar)| {
        sleep(Duration::from_millis(50) * n as u32).await;
        deregister(registrar).await
    });
    let outcomes = join_all(staggered).await;
    proxy.resume();
    etcd.thaw();

    assert_eq!(outcomes, [Deregistered::Unconfirmed; 8]);
    eventually(PATIENCE, "no entry", || etcd.keys("/svc/"), Vec::is_empty).await;
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
    let keys = || etcd.keys("/svc/");
    throughout(sleep(BOUND), "without an entry", keys, Vec::is_empty).await;
    for n in 0..8 {
        let history = history(&etcd, &format!("/svc/{n}")).await;
        let puts = history.iter().filter(|it| **it == EventType::Put).count();
        // The one before, and one that was under way.
        assert!(puts <= 2, "{history:?}");
        assert_eq!(history.last(), Some(&EventType::Delete), "{history:?}");
    }
}

/// faults row 12, where it is not known whether there is anything to deregister: a put that nobody
/// answered may still be carried out after the thaw.
#[tokio::test]
async fn a_put_that_was_given_up_is_deregistered_too() {
    let etcd = Etcd::start().await;
    let client = EtcdClient::builder([etcd.endpoint()])
        .deregister_timeout(BOUND)
        .request_timeout(BOUND)
        .build()
        .unwrap();
    const TTL: u64 = 9;
    let staying = registrar(&client, service("/svc/staying", TTL));
    in_time(staying.register()).await.unwrap();
    let going = Arc::new(registrar(&client, service("/svc/going", TTL)));

    etcd.freeze();
    let registering = going.clone();
    let registered = tokio::spawn(async move { registering.register().await });
    let mut status = going.status();
    let failed_once = |status: &RegistrarStatus| {
        matches!(status, RegistrarStatus::Registering { attempt: 2.., .. })
    };
    in_time(status.wait_for(failed_once)).await.unwrap();
    let outcome = deregister(&going).await;
    etcd.thaw();

    assert_eq!(outcome, Deregistered::Unconfirmed);
    assert!(matches!(registered.await.unwrap(), Err(Error::Closed)));
    // What etcd puts after the thaw, if anything, goes although its lease lives on.
    let lease = etcd.leases().await;
    let kept = || etcd.get("/svc/staying");
    let settled = sleep(Duration::from_secs(TTL / 3 + 1));
    throughout(settled, "the other standing", kept, Option::is_some).await;
    is_gone(&etcd, "/svc/going", PATIENCE).await;
    assert_eq!((etcd.leases().await, lease.len()), (lease, 1));
}

// === Row 13: a registry that is not there yet ===

/// faults row 13
#[tokio::test]
async fn a_registry_that_is_not_there_yet_is_waited_for() {
    let etcd = Etcd::start().await;
    etcd.kill();
    let client = client(etcd.endpoint());
    let registrar = Arc::new(registrar(&client, service("/svc/a", 2)));
    let prefix = Prefix::new("/svc").unwrap();
    let instancer = Arc::new(Instancer::new(client.clone(), prefix));

    let (provider, consumer) = (registrar.clone(), instancer.clone());
    let registered = tokio::spawn(async move { provider.register().await });
    let ready = tokio::spawn(async move { consumer.ready().await });
    let mut status = registrar.status();
    let tries = |status: &RegistrarStatus| {
        matches!(status, RegistrarStatus::Registering { attempt: 4.., .. })
    };
    in_time(status.wait_for(tries)).await.unwrap();
    let trouble = || async { instancer.trouble() };
    eventually(PATIENCE, "a failed list", trouble, Option::is_some).await;
    assert!(!registered.is_finished() && !ready.is_finished());
    assert!(instancer.state().is_none(), "nothing is known yet");
    etcd.start_again().await;

    in_time(registered).await.unwrap().unwrap();
    in_time(ready).await.unwrap().unwrap();
    assert_eq!(etcd.get("/svc/a").await.unwrap(), b"10.0.0.1:6");
    assert_eq!(etcd.leases().await.len(), 1, "no try has left a lease");
    let instances = || async { instancer.state().map_or(0, |it| it.instances().len()) };
    eventually(PATIENCE, "the instance", instances, |n| *n == 1).await;
}

/// faults row 13, with deadlines.
#[tokio::test]
async fn who_waits_for_a_registry_no_longer_than_so_is_told_what_is_wrong() {
    let etcd = Etcd::start().await;
    etcd.kill();
    let client = client(etcd.endpoint());
    let registrar = registrar(&client, service("/svc/a", 2));
    let prefix = Prefix::new("/svc").unwrap();
    let instancer = Instancer::new(client.clone(), prefix);

    let limit = Duration::from_secs(1);
    let (registered, ready) = tokio::join!(
        registrar.register_within(limit),
        instancer.ready_within(limit)
    );

    for error in [registered.unwrap_err(), ready.unwrap_err()] {
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("Connection refused"), "{text}");
        let address = etcd.address().to_string();
        assert!(text.contains(&address), "{text} does not say where");
    }
    assert!(matches!(instancer.trouble(), Some(Trouble::List(_))));

    // The consumer goes on, the provider does not until it is asked to again.
    etcd.start_again().await;
    in_time(instancer.ready()).await.unwrap();
    assert_eq!(etcd.keys("/svc/").await, [""; 0]);
    in_time(registrar.register_within(PATIENCE)).await.unwrap();
    assert_eq!(etcd.keys("/svc/").await, ["/svc/a"]);
}

/// faults row 13: there, but silent.
#[tokio::test]
async fn who_waits_for_a_frozen_registry_no_longer_than_so_is_told_what_is_wrong() {
    let etcd = Etcd::start().await;
    let client = EtcdClient::builder([etcd.endpoint()])
        .request_timeout(BOUND)
        .build()
        .unwrap();
    let registrar = registrar(&client, service("/svc/a", LONG));
    let instancer = Instancer::new(client.clone(), Prefix::new("/svc").unwrap());

    etcd.freeze();
    let limit = Duration::from_secs(2);
    let (registered, ready) = tokio::join!(
        registrar.register_within(limit),
        instancer.ready_within(limit)
    );
    etcd.thaw();

    for error in [registered.unwrap_err(), ready.unwrap_err()] {
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(error.to_string().contains("no answer to"), "{error}");
    }
    in_time(instancer.ready()).await.unwrap();
    // What was granted or put all the same goes again.
    eventually(PATIENCE, "no lease", || etcd.leases(), Vec::is_empty).await;
    assert_eq!(etcd.keys("/svc/").await, [""; 0]);
}

// === Row 20: names that begin alike ===

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

// === Row 21: what etcd would refuse ===

/// etcd's `--max-request-bytes` by default.
const LIMIT: usize = 3 * 512 * 1024;

/// faults row 21
#[tokio::test]
async fn what_etcd_would_refuse_is_refused_before_anything_is_sent() {
    let etcd = Etcd::start().await;
    let before = etcd.metrics().await;
    let client = client(etcd.endpoint());

    assert!(matches!(
        Service::new("", "10.0.0.1:80"),
        Err(Invalid::EmptyKey)
    ));
    assert!(matches!(Key::lease_suffixed(""), Err(Invalid::EmptyKey)));
    for ttl in [Duration::from_millis(1999), Duration::from_secs(86_401)] {
        let error = Ttl::new(ttl).unwrap_err();
        assert_eq!(error, Invalid::Ttl { given: ttl });
        assert!(error.to_string().contains("between 2 s and 24 h"));
    }
    for oversized in [
        service("/svc/a", 2).with_value(vec![b'x'; LIMIT]),
        service(&"k".repeat(LIMIT), 2),
    ] {
        let registrar = registrar(&client, oversized.clone());
        let error = client.register(&oversized).await.unwrap_err();
        let through_registrar = in_time(registrar.register()).await.unwrap_err();
        for error in [error, through_registrar] {
            let Error::Invalid(Invalid::TooLarge { size, limit, .. }) = error else {
                panic!("{error}");
            };
            assert!(size > limit && limit == LIMIT, "{size} of {limit}");
            let text = error.to_string();
            assert!(text.len() < 300 && text.contains("1572864"), "{text}");
        }
        let outcome = in_time(registrar.deregister()).await.unwrap();
        assert_eq!(outcome, Deregistered::NotOurs);
    }

    let after = etcd.metrics().await;
    assert_eq!(after, before, "nothing was sent");
    assert_eq!(etcd.client_connections(), 0);
}

/// faults row 21, for a service that stands already.
#[tokio::test]
async fn a_new_value_that_etcd_would_refuse_leaves_the_old_one() {
    let etcd = Etcd::start().await;
    let client = client(etcd.endpoint());
    let registrar = registrar(&client, service("/svc/a", LONG));
    in_time(registrar.register()).await.unwrap();
    let before = etcd.metrics().await;

    let error = in_time(registrar.update(vec![b'x'; LIMIT]))
        .await
        .unwrap_err();

    assert!(matches!(error, Error::Invalid(Invalid::TooLarge { .. })));
    assert_eq!(etcd.metrics().await.since(&before).txns(), 0);
    assert_eq!(etcd.get("/svc/a").await.unwrap(), b"10.0.0.1:6");
    assert!(registrar.status().borrow().is_registered());
}

/// The largest entry under `key` that is let through.
async fn largest(client: &EtcdClient, key: &str) -> Service {
    let of = |bytes: usize| service(key, LONG).with_value(vec![b'x'; bytes]);
    let Err(Error::Invalid(Invalid::TooLarge { size, .. })) = client.register(&of(LIMIT)).await
    else {
        panic!("{LIMIT} bytes were let through");
    };
    let largest = LIMIT - (size - LIMIT);
    let one_more = client.register(&of(largest + 1)).await;
    assert!(matches!(one_more, Err(Error::Invalid(_))));
    of(largest)
}

async fn reclaim(registration: Registration, service: &Service) -> Registration {
    let value = service.value.clone();
    match in_time(registration.reclaim(value)).await.unwrap() {
        Reclaimed::Held(registration) => registration,
        taken @ Reclaimed::Taken { .. } => panic!("{taken:?}"),
    }
}

/// faults row 21, from the other side: nothing is let through that etcd refuses, in whatever way
/// it is written.
#[tokio::test]
async fn the_largest_entry_that_is_let_through_is_taken_by_etcd() {
    let etcd = Etcd::start().await;
    let client = client(etcd.endpoint());

    for key in ["/svc/short", &format!("/svc/{}", "l".repeat(100_000))] {
        let service = largest(&client, key).await;
        let registration = in_time(client.register(&service)).await.unwrap();
        // Guarded, the request is longer: by what stands there, and by what does not.
        let registration = reclaim(registration, &service).await;
        etcd.revoke(etcd.leases().await[0]).await;
        let _held = reclaim(registration, &service).await;
        assert_eq!(etcd.get(key).await.unwrap().len(), service.value.len());
        let outcome = in_time(client.deregister(&service)).await.unwrap();
        assert_eq!(outcome, Deregistered::Removed);
    }

    let mut named_by_its_lease = largest(&client, "/svc/named").await;
    named_by_its_lease.key = Key::lease_suffixed("/svc/named").unwrap();
    let _held = in_time(client.register(&named_by_its_lease)).await.unwrap();

    // Several at once are several requests.
    let keys: Vec<String> = (0..4).map(|n| format!("/svc/{n}")).collect();
    let many = join_all(keys.iter().map(|key| largest(&client, key))).await;
    let held = join_all(many.iter().map(|service| client.register(service)));
    for registered in in_time(held).await {
        assert_eq!(registered.unwrap().is_lost(), None);
    }
}

/// faults row 21: what may be registered can be deregistered, however much at once.
#[tokio::test]
async fn long_keys_go_as_well_as_they_came() {
    let etcd = Etcd::start().await;
    // How much goes at once is the matter here, not how long a busy machine takes.
    let client = EtcdClient::builder([etcd.endpoint()])
        .deregister_timeout(PATIENCE)
        .build()
        .unwrap();
    let key = |n: usize| format!("/svc/{n:02}/{}", "l".repeat(100_000));
    let services: Vec<_> = (0..20).map(|n| service(&key(n), LONG)).collect();
    let staying = service("/svc/staying", LONG);
    let _stays = client.register(&staying).await.unwrap();
    let held = join_all(services.iter().map(|service| client.register(service))).await;
    assert!(held.iter().all(Result::is_ok), "{held:?}");

    let gone = join_all(services.iter().map(|service| client.deregister(service))).await;

    for outcome in gone {
        assert_eq!(outcome.unwrap(), Deregistered::Removed);
    }
    assert_eq!(etcd.keys("/svc/").await, ["/svc/staying"]);
}
