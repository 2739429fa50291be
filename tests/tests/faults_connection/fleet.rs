//! A fleet whose members all have to authenticate.

use super::{is_live, is_well, secs, service};
use crate::prefix;
use etcd_client::ConnectOptions;
use sd_core::{Instancer, Registrar};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, Proxy, eventually};
use std::{collections::BTreeSet, env, time::Duration};
use tokio::{task::JoinSet, time::Instant};

/// Longer than an authentication of all of them takes on one busy core.
const TTL: u64 = 60;

/// How many processes: 60, or what `SD_FLEET` says.
fn size() -> u64 {
    let size = env::var("SD_FLEET").ok();
    size.map_or(60, |size| size.parse().expect("SD_FLEET is a number"))
}

/// One process: what it registers and follows.
struct Process {
    registrar: Registrar,
    instancer: Instancer,
}

impl Process {
    async fn start(endpoint: String, number: u64) -> Self {
        let builder = EtcdClient::builder([endpoint]).user("discovery", "secret");
        let client = builder.build().unwrap();
        let key = format!("/svc/10.0.{}.{}:80", number / 250, number % 250);
        let registrar = Registrar::new(client.clone(), service(&key, TTL));
        registrar.register().await.unwrap();
        let instancer = Instancer::new(client, prefix());
        instancer.ready().await.unwrap();
        Self {
            registrar,
            instancer,
        }
    }

    fn is_well(&self) -> bool {
        is_live(&self.instancer) && is_well(&self.registrar)
    }
}

/// An etcd with passwords, at bcrypt's default cost. Nobody is served without a token.
async fn guarded() -> Etcd {
    let etcd = Etcd::setup().flag("--auth-token=simple").start().await;
    etcd.enable_auth().await;
    etcd.add_user("discovery", "secret", "/svc/").await;
    etcd
}

/// Starts `size` processes at once.
async fn fleet(endpoint: &str, size: u64) -> Vec<Process> {
    let mut starting = JoinSet::new();
    for number in 0..size {
        starting.spawn(Process::start(endpoint.to_owned(), number));
    }
    starting.join_all().await
}

/// How long etcd takes to authenticate so many clients that ask at once. Those that it does not serve
/// in time, as it is busy, ask again.
async fn time_to_authenticate(etcd: &Etcd, clients: u64) -> Duration {
    let begun = Instant::now();
    let mut authenticating = JoinSet::new();
    for _ in 0..clients {
        let endpoint = etcd.endpoint();
        let ask = move || {
            let user = ConnectOptions::new().with_user("discovery", "secret");
            let endpoint = endpoint.clone();
            async move {
                let client = etcd_client::Client::connect([endpoint], Some(user)).await;
                client.map(drop).map_err(|error| error.to_string())
            }
        };
        let served = Result::is_ok;
        let served = eventually(6 * PATIENCE, "an authentication", ask, served);
        authenticating.spawn(async move { drop(served.await) });
    }
    authenticating.join_all().await;
    begun.elapsed()
}

async fn leases(etcd: &Etcd) -> BTreeSet<i64> {
    etcd.leases().await.into_iter().collect()
}

/// Waits until all are well, by their own word and by etcd's, and returns how long that took.
async fn all_well(etcd: &Etcd, fleet: &[Process], within: Duration) -> Duration {
    let begun = Instant::now();
    // Etcd's own word can wait: it is busy.
    let well = async || fleet.iter().filter(|it| it.is_well()).count();
    let are_well = |well: &usize| *well == fleet.len();
    eventually(within, "all to be well", well, are_well).await;
    let all = fleet.len() as u64;
    let served = async || {
        let metrics = etcd.metrics().await;
        (metrics.watchers(), metrics.keepalive_streams())
    };
    let are_served = |(watchers, leases): &(u64, u64)| *watchers >= all && *leases == all;
    let left = within.saturating_sub(begun.elapsed());
    eventually(left, "etcd to serve all", served, are_served).await;
    let took = begun.elapsed();
    // Each follows a prefix, and watches its own key. Until it does, it verifies.
    let is_all = |served: &(u64, u64)| *served == (2 * all, all);
    eventually(6 * PATIENCE, "own keys to be watched", served, is_all).await;
    took
}

/// For a machine that does other things meanwhile.
const SLACK: Duration = secs(10);

/// Row 29: all connections of a fleet are lost at once, and then its tokens, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_with_passwords_comes_back() {
    let size = size();
    let etcd = guarded().await;
    let proxy = Proxy::to(etcd.address()).await;
    let before = etcd.metrics().await;
    let fleet = fleet(&proxy.endpoint(), size).await;
    let keys = etcd.keys("/svc/").await;
    let leases = leases(&etcd).await;
    assert_eq!((keys.len() as u64, leases.len() as u64), (size, size));
    let asked = etcd.metrics().await.since(&before).calls("Authenticate");
    // One for both connections, but for those that a busy etcd gives up itself ("request timed out").
    assert!(2 * asked <= 3 * size, "{asked} authentications of {size}");
    let once = time_to_authenticate(&etcd, size).await;

    let before = etcd.metrics().await;
    proxy.drop_connections();
    let dropped = all_well(&etcd, &fleet, 2 * once + SLACK).await;
    let asked = etcd.metrics().await.since(&before).calls("Authenticate");
    assert_eq!(asked, 0, "their tokens are still valid");

    etcd.restart().await;
    let restarted = all_well(&etcd, &fleet, 2 * once + SLACK).await;
    let asked = etcd.metrics().await.calls("Authenticate");
    eprintln!(
        "{size} processes: authenticated in {once:?}, back after {dropped:?} without and \
         {restarted:?} with a restart, {asked} authentications"
    );
    assert!(2 * asked <= 3 * size, "{asked} authentications of {size}");

    assert_eq!(self::leases(&etcd).await, leases, "no lease is lost");
    assert_eq!(etcd.keys("/svc/").await, keys);
}
