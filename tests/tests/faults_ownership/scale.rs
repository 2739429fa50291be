//! What it costs to know what is ours.

use crate::*;
use futures::future::join_all;
use sd_core::RegistrarStatus;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// How many bytes etcd has received from its clients, and sent to them.
async fn bytes(etcd: &Etcd) -> [u64; 2] {
    let mut stream = TcpStream::connect(etcd.address()).await.unwrap();
    let request = b"GET /metrics HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    ["received", "sent"].map(|direction| {
        let name = format!("etcd_network_client_grpc_{direction}_bytes_total ");
        let mut values = answer.lines().filter_map(|line| line.strip_prefix(&name));
        let value = values.next().expect("etcd counts it").parse::<f64>();
        value.unwrap() as u64
    })
}

/// Row 45: the keys on the lease are more than an answer holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_keys_of_ten_thousand_long_ones_are_noticed() {
    const COUNT: usize = 10_000;
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let key = |n: usize| format!("/svc/{}-{n:05}", "n".repeat(450));
    let registrars: Vec<Registrar> = (0..COUNT)
        .map(|n| Service::new(key(n), format!("10.0.{}.{}:80", n / 256, n % 256)).unwrap())
        .map(|service| service.with_ttl(Ttl::from_secs(6).unwrap()))
        .map(|service| Registrar::new(client.clone(), service))
        .collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }

    etcd.delete(key(5)).await;
    etcd.put(key(6), "10.9.9.9:9").await;
    etcd.edit(key(7), "garbage").await;

    let patience = 2 * PATIENCE;
    for n in [5, 7] {
        let back = || etcd.get(key(n));
        let value = format!("10.0.0.{n}:80").into_bytes();
        eventually(patience, "the key back", back, |it| {
            it.as_ref() == Some(&value)
        })
        .await;
    }
    let is_taken = async || {
        matches!(
            *registrars[6].status().borrow(),
            RegistrarStatus::Taken { .. }
        )
    };
    eventually(patience, "one taken", is_taken, |it| *it).await;

    // The watch of the own keys has told of our own puts.
    let told = async || {
        let before = bytes(&etcd).await[1];
        sleep(Duration::from_secs(1)).await;
        bytes(&etcd).await[1] - before
    };
    eventually(patience, "no more events", told, |sent| *sent < 128 * 1024).await;
    // What a comparison costs: once something has changed, whatever that is.
    let (before, asked) = (bytes(&etcd).await, etcd.metrics().await);
    etcd.put("/strangers", "busy").await;
    let compared = async || etcd.metrics().await.since(&asked).txns();
    // 125 keys in a transaction.
    eventually(patience, "a comparison", compared, |txns| *txns >= 80).await;
    let after = bytes(&etcd).await;
    let [received, sent] = [0, 1].map(|n| after[n] - before[n]);
    println!("a comparison of {COUNT} keys of 461 bytes: {received} received, {sent} sent");
    assert!(received < 8 * 1024 * 1024, "{received} bytes to etcd");
    assert!(sent < 256 * 1024, "{sent} bytes from etcd");
}

/// Item 5: a taken key is waited for without reading its owner's value again and again.
#[tokio::test]
async fn a_large_value_of_another_owner_is_read_once() {
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrar = registrar(&client, OWN);
    registrar.register().await.unwrap();
    let value = vec![b'x'; 1024 * 1024];
    etcd.put(KEY, value.clone()).await;
    let taken = async || matches!(&*registrar.status().borrow(), RegistrarStatus::Taken { value: by } if *by == value);
    eventually(PATIENCE, "taken", taken, |it| *it).await;
    let (before, asked) = (bytes(&etcd).await, etcd.metrics().await);

    let looks = async || etcd.metrics().await.since(&asked).txns();
    eventually(PATIENCE, "three looks", looks, |looks| *looks >= 3).await;

    let sent = bytes(&etcd).await[1] - before[1];
    assert!(sent < 64 * 1024, "{sent} bytes");
    // And is read again when it is another one.
    etcd.put(KEY, "short").await;
    let taken = async || matches!(&*registrar.status().borrow(), RegistrarStatus::Taken { value } if value == "short");
    eventually(PATIENCE, "the new value", taken, |it| *it).await;
    etcd.delete(KEY).await;
    has(&etcd, &client, &registrar, OWN).await;
}
