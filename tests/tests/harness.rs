//! Tests of the tools of the other tests.

use etcd_client::ConnectOptions;
use sd_tests::{Ca, Cluster, Etcd, PATIENCE, Proxy, eventually, throughout};
use std::{io, path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

const KEY: &str = "/services/hello/10.0.0.1:80";

#[tokio::test]
async fn an_etcd_holds_what_is_put_into_it() {
    let etcd = Etcd::start().await;

    let revision = etcd.put(KEY, "up").await;
    etcd.put("/elsewhere", "").await;

    assert_eq!(etcd.get(KEY).await.as_deref(), Some(&b"up"[..]));
    assert_eq!(etcd.entry(KEY).await.unwrap().mod_revision(), revision);
    assert_eq!(etcd.keys("/services/").await, [KEY]);
    assert_eq!(etcd.revision().await, revision + 1);
    assert!(etcd.delete(KEY).await);
    assert!(!etcd.delete(KEY).await);
    assert_eq!(etcd.get(KEY).await, None);
}

#[tokio::test]
async fn a_revoked_lease_takes_its_key_along() {
    let etcd = Etcd::start().await;

    let lease = etcd.put_leased(KEY, "up", Duration::from_secs(60)).await;

    assert_eq!(etcd.leases().await, [lease]);
    assert_eq!(etcd.entry(KEY).await.unwrap().lease(), lease);
    etcd.revoke(lease).await;
    assert_eq!(etcd.leases().await, [0; 0]);
    assert_eq!(etcd.get(KEY).await, None);
}

#[tokio::test]
async fn only_others_calls_and_connections_count() {
    let etcd = Etcd::start().await;
    etcd.put_leased(KEY, "up", Duration::from_secs(60)).await;
    etcd.compact().await;
    let before = etcd.metrics().await;
    assert_eq!((before.range_requests(), before.puts()), (0, 0));
    assert_eq!((before.lease_grants(), before.watchers()), (0, 0));
    assert_eq!(etcd.client_connections(), 0);

    let mut client = etcd_client::Client::connect([etcd.endpoint()], None)
        .await
        .unwrap();
    client.get(KEY, None).await.unwrap();
    client.get(KEY, None).await.unwrap();
    client.put(KEY, "down", None).await.unwrap();
    let watch = client.watch(KEY, None).await.unwrap();
    let lease = client.lease_grant(60, None).await.unwrap().id();
    let (keeper, answers) = client.lease_keep_alive(lease).await.unwrap();

    let metrics = etcd.metrics().await.since(&before);
    assert_eq!((metrics.range_requests(), metrics.puts()), (2, 1));
    assert_eq!((metrics.txns(), metrics.lease_grants()), (0, 1));
    assert_eq!((metrics.watchers(), metrics.watch_streams()), (1, 1));
    assert_eq!((metrics.keepalive_streams(), metrics.keepalives()), (1, 1));
    assert_eq!(etcd.client_connections(), 1);

    drop((watch, keeper, answers, client));
    let open = async || {
        let now = etcd.metrics().await;
        let streams = now.watch_streams() + now.keepalive_streams();
        (now.watchers(), streams, etcd.client_connections())
    };
    eventually(PATIENCE, "nothing left open", open, |open| {
        *open == (0, 0, 0)
    })
    .await;
}

#[tokio::test]
async fn a_frozen_etcd_is_silent_until_it_thaws() {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    client.put(KEY, "up", None).await.unwrap();

    etcd.freeze();
    let silence = tokio::time::timeout(Duration::from_millis(300), client.get(KEY, None)).await;
    etcd.thaw();

    assert!(silence.is_err(), "answered while frozen: {silence:?}");
    assert_eq!(etcd.get(KEY).await.as_deref(), Some(&b"up"[..]));
}

#[tokio::test]
async fn a_killed_etcd_keeps_its_data_and_its_address() {
    let etcd = Etcd::start().await;
    etcd.put(KEY, "up").await;
    let (endpoint, pid) = (etcd.endpoint(), etcd.pid());

    etcd.kill();
    assert_eq!(etcd.pid(), None);
    etcd.start_again().await;

    assert_eq!(etcd.endpoint(), endpoint);
    assert_ne!(etcd.pid(), pid);
    assert_eq!(etcd.get(KEY).await.as_deref(), Some(&b"up"[..]));
}

#[tokio::test]
async fn a_wiped_etcd_has_forgotten_everything() {
    let etcd = Etcd::start().await;
    etcd.put(KEY, "up").await;
    let cluster_id = async || {
        let status = etcd.client().await.status().await.unwrap();
        status.header().unwrap().cluster_id()
    };
    let before = cluster_id().await;

    etcd.wipe().await;

    assert_eq!(etcd.get(KEY).await, None);
    assert_eq!(etcd.revision().await, 1);
    assert_eq!(cluster_id().await, before, "it looks like the same one");
}

#[tokio::test]
async fn a_restored_etcd_knows_what_it_knew_at_the_backup() {
    let etcd = Etcd::start().await;
    etcd.put(KEY, "up").await;
    let backup = etcd.back_up();
    let revision = etcd.revision().await;
    etcd.put(KEY, "down").await;

    for _ in 0..2 {
        etcd.restore(&backup).await;

        assert_eq!(etcd.get(KEY).await.unwrap(), b"up");
        assert_eq!(etcd.revision().await, revision);
        etcd.put(KEY, "down again").await;
    }
}

#[tokio::test]
async fn a_dropped_etcd_leaves_no_process_behind() {
    let etcd = Etcd::start().await;
    let pid = etcd.pid().unwrap();
    etcd.freeze();

    drop(etcd);

    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_panicking_test_leaves_no_process_behind() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let test = tokio::spawn(async move {
        let etcd = Etcd::start().await;
        tell.send(etcd.pid().unwrap()).unwrap();
        panic!("as a failing test does");
    });

    assert!(test.await.unwrap_err().is_panic());
    let pid = told.await.unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn several_etcds_do_not_see_each_other() {
    let (one, other) = tokio::join!(Etcd::start(), Etcd::start());

    one.put(KEY, "up").await;

    assert_eq!(other.get(KEY).await, None);
}

#[tokio::test]
async fn a_cluster_of_three_has_a_leader_that_can_be_moved_and_killed() {
    let cluster = Cluster::start().await;
    cluster.members()[0].put(KEY, "up").await;

    let first = cluster.leader().await;
    let second = (first + 1) % 3;
    cluster.move_leader(second).await;
    assert_eq!(cluster.leader().await, second);

    cluster.members()[second].kill();
    let third = cluster.leader().await;
    assert_ne!(third, second);
    assert!(cluster.members()[third].get(KEY).await.is_some());

    cluster.members()[second].start_again().await;
    let last = (0..3).find(|it| ![second, third].contains(it)).unwrap();
    cluster.members()[last].freeze();
    cluster.members()[second].put(KEY, "up").await;
}

/// Both ends of a connection through a proxy, over which `hello` has gone once.
async fn proxied() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).await;
    let address = proxy.endpoint().replace("http://", "");
    let mut client = TcpStream::connect(address).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(b"hello").await.unwrap();
    assert_eq!(heard(&mut server).await.unwrap(), "hello");
    (proxy, client, server)
}

async fn heard(stream: &mut TcpStream) -> io::Result<String> {
    let mut buffer = [0; 64];
    let length = stream.read(&mut buffer).await?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[tokio::test]
async fn a_stalled_proxy_holds_everything_back_and_loses_nothing() {
    let (proxy, mut client, mut server) = proxied().await;

    proxy.stall();
    client.write_all(b"there").await.unwrap();
    server.write_all(b"back").await.unwrap();
    let silence = timeout(Duration::from_millis(100), heard(&mut server)).await;
    assert!(silence.is_err(), "{silence:?}");

    proxy.resume();
    assert_eq!(heard(&mut server).await.unwrap(), "there");
    assert_eq!(heard(&mut client).await.unwrap(), "back");
}

#[tokio::test]
async fn dropped_connections_are_reset_on_both_sides() {
    let (proxy, mut client, mut server) = proxied().await;

    proxy.drop_connections();

    for side in [&mut client, &mut server] {
        let error = heard(side).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_refusing_proxy_serves_only_those_it_has() {
    let (proxy, mut client, mut server) = proxied().await;
    let address = proxy.endpoint().replace("http://", "");

    proxy.refuse().await;

    let refused = TcpStream::connect(&address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    client.write_all(b"still here").await.unwrap();
    assert_eq!(heard(&mut server).await.unwrap(), "still here");

    proxy.resume();
    let connects = async || TcpStream::connect(&address).await.is_ok();
    eventually(PATIENCE, "a connection", connects, |yes| *yes).await;
}

#[tokio::test]
async fn a_slow_proxy_delivers_late() {
    let (proxy, mut client, mut server) = proxied().await;
    let delay = Duration::from_millis(100);

    proxy.delay(delay);
    let sent = Instant::now();
    client.write_all(b"late").await.unwrap();

    assert_eq!(heard(&mut server).await.unwrap(), "late");
    assert!(sent.elapsed() >= delay);
}

#[tokio::test]
async fn a_closed_connection_closes_behind_the_proxy_too() {
    let (_proxy, mut client, mut server) = proxied().await;

    client.write_all(b"bye").await.unwrap();
    drop(client);

    assert_eq!(heard(&mut server).await.unwrap(), "bye");
    assert_eq!(heard(&mut server).await.unwrap(), "", "the end");
}

#[tokio::test]
async fn what_must_never_happen_is_seen_when_it_does() {
    let mut looks = 0;
    let watched = tokio::spawn(async move {
        let probe = || {
            looks += 1;
            std::future::ready(looks)
        };
        throughout(std::future::pending::<()>(), "low", probe, |looks| {
            *looks < 3
        })
        .await;
    });

    let panic = watched.await.unwrap_err().into_panic();

    let message = panic.downcast_ref::<String>().unwrap();
    assert_eq!(message, "not always low; seen in between: 3");
}

#[tokio::test]
async fn a_guarded_etcd_serves_the_test_as_before() {
    let setup = Etcd::setup().tls(&Ca::new()).client_certificates();
    let etcd = setup.token_ttl(1).start().await;
    etcd.enable_auth().await;
    etcd.add_user("somebody", "secret", "/services/").await;
    let before = etcd.metrics().await;

    etcd.put(KEY, "up").await;
    etcd.restart().await;
    assert_eq!(etcd.get(KEY).await.as_deref(), Some(&b"up"[..]));

    assert_eq!(before.calls("Authenticate"), 0, "those are the test's own");
    assert_eq!(etcd.metrics().await.calls("Authenticate"), 0);
    assert_eq!(etcd.client_connections(), 0);
    etcd.wipe().await;
    assert_eq!(etcd.get(KEY).await, None, "and there are no users either");
}

#[tokio::test]
async fn users_have_the_rights_they_were_given() {
    let etcd = Etcd::setup().token_ttl(60).start().await;
    etcd.enable_auth().await;
    etcd.add_user("somebody", "secret", "/services/").await;
    let options = ConnectOptions::new().with_user("somebody", "secret");
    let client = etcd_client::Client::connect([etcd.endpoint()], Some(options)).await;
    let mut client = client.unwrap();

    client.put(KEY, "up", None).await.unwrap();
    client.put("/elsewhere", "", None).await.unwrap_err();
    etcd.withdraw("somebody", "/services/").await;
    client.get(KEY, None).await.unwrap_err();
    etcd.grant("somebody", "/services/").await;
    client.get(KEY, None).await.unwrap();
    etcd.change_password("somebody", "another").await;
    client.get(KEY, None).await.unwrap_err();

    etcd.disable_auth().await;
    assert_eq!(etcd.keys("").await, [KEY]);
}

#[tokio::test]
async fn a_full_etcd_takes_nothing_until_the_alarm_is_lifted() {
    let etcd = Etcd::setup().quota(1 << 20).start().await;
    let mut client = etcd.client().await;

    etcd.fill_quota().await;
    assert!(etcd.has_alarm().await);
    client.put(KEY, "up", None).await.unwrap_err();
    etcd.restart().await;
    assert!(etcd.has_alarm().await, "it outlives a restart");

    etcd.lift_alarm().await;
    assert!(!etcd.has_alarm().await);
    etcd.put(KEY, "up").await;
    assert_eq!(etcd.keys("").await, [KEY]);
    let metrics = etcd.metrics().await;
    assert_eq!((metrics.puts(), metrics.calls("Alarm")), (0, 0));
}
