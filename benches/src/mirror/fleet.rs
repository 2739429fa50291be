//! A fleet of instances in an etcd.

use etcd_client::{Client, PutOptions, Txn, TxnOp};
use sd_tests::Etcd;
use std::error::Error;

/// As many puts as etcd takes in one transaction.
const PUTS: usize = 100;

pub(super) const PREFIX: &str = "/services/hello/";

/// A running etcd with a number of instances under [`PREFIX`].
pub(super) struct Fleet {
    etcd: Etcd,
    instances: usize,
}

impl Fleet {
    pub(super) fn start(instances: usize) -> Result<Self, Box<dyn Error>> {
        super::contender::runtime()?.block_on(async {
            let etcd = Etcd::start().await;
            let mut client = Client::connect([etcd.endpoint()], None).await?;
            for first in (0..instances).step_by(PUTS) {
                let lease = client.lease_grant(3600, None).await?.id();
                let lease = PutOptions::new().with_lease(lease);
                let put = |n| TxnOp::put(key(n), value(n), Some(lease.clone()));
                let puts: Vec<_> = (first..instances.min(first + PUTS)).map(put).collect();
                client.txn(Txn::new().and_then(puts)).await?;
            }
            Ok(Self { etcd, instances })
        })
    }

    pub(super) fn endpoint(&self) -> String {
        self.etcd.endpoint()
    }

    /// Of all keys and values.
    pub(super) fn bytes(&self) -> usize {
        let entries = 0..self.instances;
        entries.map(|n| key(n).len() + value(n).len()).sum()
    }
}

fn key(n: usize) -> String {
    format!("{PREFIX}{n:06}")
}

/// About 100 bytes, about 60 of them metadata.
fn value(n: usize) -> String {
    let (b, c) = (n / 250, n % 250);
    let commit = n.wrapping_mul(0x9e37_79b9) % 0x1000_0000;
    format!(
        r#"{{"address":"10.{}.{}.{c}:8080","metadata":{{"commit":"{commit:07x}","team":"search","version":"1.42.{}"}}}}"#,
        b / 250,
        b % 250,
        n % 10,
    )
}
