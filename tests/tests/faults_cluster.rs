//! Registrations and consumers when a member of the cluster fails, or the leader.

use sd_core::{Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use sd_tests::{
    Cluster, Consumer, Etcd, Metrics, PATIENCE, Provider, View, eventually, throughout,
};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

/// A cluster, and a consumer and two providers that know all members and are connected to the same
/// one.
struct Scene {
    cluster: Cluster,
    consumer: Consumer,
    _providers: [Provider; 2],
    /// The member to which they are connected.
    common: usize,
}

impl Scene {
    async fn set(ttls: [Ttl; 2]) -> Self {
        let cluster = Cluster::start().await;
        loop {
            let client = EtcdClient::connect(cluster.endpoints()).unwrap();
            let consumer = Consumer::on(client, "/svc").await;
            let common = connections(&cluster).iter().position(|n| *n > 0);
            let common = common.expect("it hangs on one of them");
            let a = provider_on(&cluster, common, 1, ("/svc/a", A), ttls[0]).await;
            let b = provider_on(&cluster, common, 2, ("/svc/b", B), ttls[1]).await;
            consumer.settles_on(&[A, B]).await;
            // On a busy machine, one may have moved to another member.
            if connections(&cluster)[common] == 3 {
                return Self {
                    cluster,
                    consumer,
                    _providers: [a, b],
                    common,
                };
            }
            for client in [consumer.client(), a.client(), b.client()] {
                client.close().await;
            }
            drop((consumer, a, b));
            some_connections(&cluster, 0).await;
        }
    }

    fn common(&self) -> &Etcd {
        &self.cluster.members()[self.common]
    }

    /// The index of a member without connections.
    fn another(&self) -> usize {
        (self.common + 1) % 3
    }

    /// The two members without connections.
    fn others(&self) -> [&Etcd; 2] {
        [self.another(), (self.common + 2) % 3].map(|index| &self.cluster.members()[index])
    }

    /// The leases and modifications of the providers' entries, read from a member without the
    /// fault.
    async fn entries(&self) -> [Option<(i64, i64)>; 2] {
        let [witness, _] = self.others();
        [
            witness.last_put("/svc/a").await,
            witness.last_put("/svc/b").await,
        ]
    }

    /// Waits until a lease that nobody keeps alive would have ended.
    async fn more_than_a_ttl(&self) {
        let all = async || {
            let mut all = Vec::new();
            for member in self.cluster.members() {
                all.push(member.metrics().await);
            }
            all
        };
        let before = sum(&all().await, Metrics::keepalives);
        let beats = async || sum(&all().await, Metrics::keepalives) - before;
        eventually(PATIENCE, "more than a TTL of beats", beats, |n| *n >= 8).await;
    }

    /// Awaits `fault` while strangers change entries, and goes on until `members` have received
    /// `beats` keep-alives. Checks that nobody is removed, nothing is registered again, and no
    /// change is missed.
    async fn goes_through(&self, fault: impl Future<Output = ()>, members: &[&Etcd], beats: u64) {
        let [one, other] = self.others();
        one.put("/svc/gone", "10.0.0.3:80").await;
        self.consumer.settles_on(&[A, B, "10.0.0.3:80"]).await;
        let (entries, made) = (self.entries().await, self.consumer.made());
        let mut before = Vec::new();
        for member in members {
            before.push(member.metrics().await);
        }
        let asked = async || {
            let mut asked = Vec::new();
            for (member, before) in members.iter().zip(&before) {
                asked.push(member.metrics().await.since(before));
            }
            asked
        };
        let strangers: Vec<String> = (0..40).map(|n| format!("10.1.0.{n}:80")).collect();
        let changes = async {
            for (n, address) in strangers.iter().enumerate() {
                insist(other, &format!("/svc/c{n:02}"), address).await;
                sleep(Duration::from_millis(25)).await;
            }
        };

        let all = async {
            tokio::join!(fault, changes);
            one.delete("/svc/gone").await;
            let expected = [A, B]
                .into_iter()
                .chain(strangers.iter().map(String::as_str));
            let expected: Vec<&str> = expected.collect();
            self.consumer.settles_on(&expected).await;
            // For longer than the longest TTL, so that a lease nobody keeps alive would have ended.
            let asked = async || {
                // Reading the metrics takes some of etcd's time.
                sleep(Duration::from_millis(200)).await;
                asked().await
            };
            let kept = |asked: &Vec<Metrics>| sum(asked, Metrics::keepalives) >= beats;
            eventually(PATIENCE, "more than a TTL of beats", asked, kept).await;
        };
        let both = |view: &View| view.has(A) && view.has(B) && !doubts_providers(view);
        throughout(all, "both, undoubted", async || self.consumer.view(), both).await;

        assert_eq!(self.entries().await, entries, "nothing was put again");
        let asked = asked().await;
        assert_eq!(sum(&asked, Metrics::lease_grants), 0);
        // A comparison for each verification; that nothing was put is seen above.
        let verified = sum(&asked, |asked| asked.calls("LeaseTimeToLive"));
        let compared = sum(&asked, Metrics::txns);
        assert!(
            compared <= verified,
            "{compared} transactions for {verified} verifications"
        );
        // A look at the witness for each watch that is resumed.
        let (looks, resumed) = (
            sum(&asked, Metrics::range_requests),
            sum(&asked, |asked| asked.calls("Watch")),
        );
        assert!(looks <= resumed, "{looks} reads for {resumed} watches");
        let new = self.consumer.made() - made;
        assert_eq!(new, strangers.len(), "endpoints are kept");
    }
}

fn doubts_providers(view: &View) -> bool {
    view.held
        .iter()
        .any(|key| key == "/svc/a" || key == "/svc/b")
}

fn sum(asked: &[Metrics], count: impl Fn(&Metrics) -> u64) -> u64 {
    asked.iter().map(count).sum()
}

/// How many connections each of the members has.
fn connections(cluster: &Cluster) -> [usize; 3] {
    cluster.members().each_ref().map(Etcd::client_connections)
}

/// Waits until the members have `count` connections together. Returns the number for each.
async fn some_connections(cluster: &Cluster, count: usize) -> [usize; 3] {
    let there = async || connections(cluster);
    let is_all = |there: &[usize; 3]| there.iter().sum::<usize>() == count;
    eventually(PATIENCE, "the others' connections", there, is_all).await
}

/// A provider that is connected to this member. It chooses a random one, so several are tried.
/// `others` are connected already.
async fn provider_on(
    cluster: &Cluster,
    member: usize,
    others: usize,
    (key, address): (&str, &'static str),
    ttl: Ttl,
) -> Provider {
    loop {
        let before = some_connections(cluster, others).await;
        let client = EtcdClient::connect(cluster.endpoints()).unwrap();
        let service = Service::new(key, address).unwrap().with_ttl(ttl);
        let registrar = |client| Registrar::new(client, service);
        let provider = Provider::on(client, key, registrar).await;
        if connections(cluster)[member] > before[member] {
            return provider;
        }
        provider.client().close().await;
    }
}

/// Puts an entry, and retries while there is no leader: a request that was forwarded to a dead
/// leader is lost.
async fn insist(member: &Etcd, key: &str, value: &str) {
    let mut client = member.client().await;
    let patience = Duration::from_secs(1);
    while !matches!(
        timeout(patience, client.put(key, value, None)).await,
        Ok(Ok(_))
    ) {
        sleep(Duration::from_millis(10)).await;
    }
}

fn ttl(secs: u64) -> Ttl {
    Ttl::from_secs(secs).unwrap()
}

/// faults row 15
#[tokio::test]
async fn the_death_of_the_leader_costs_no_registration_and_no_change() {
    let scene = Scene::set([ttl(3), ttl(4)]).await;
    scene.cluster.move_leader(scene.common).await;

    let fault = async {
        sleep(Duration::from_millis(300)).await;
        scene.common().kill();
        scene.cluster.leader().await;
    };
    scene.goes_through(fault, &scene.others(), 8).await;
}

/// faults row 15
#[tokio::test]
async fn a_leader_that_steps_down_costs_no_registration_and_no_change() {
    let scene = Scene::set([ttl(3), ttl(4)]).await;
    scene.cluster.move_leader(scene.common).await;

    let fault = async {
        sleep(Duration::from_millis(300)).await;
        scene.cluster.move_leader(scene.another()).await;
        sleep(Duration::from_millis(300)).await;
        scene.cluster.move_leader(scene.common).await;
    };
    let members: Vec<&Etcd> = scene.cluster.members().iter().collect();
    scene.goes_through(fault, &members, 8).await;
}

/// faults row 16
#[tokio::test]
async fn clients_of_a_member_that_is_cut_off_move_to_another_and_keep_their_leases() {
    // The shortest TTL leaves the least time. Several keep-alives fit into the other.
    let scene = Scene::set([Ttl::MIN, ttl(4)]).await;
    scene.cluster.move_leader(scene.another()).await;

    let fault = async {
        sleep(Duration::from_millis(300)).await;
        scene.common().freeze();
    };
    scene.goes_through(fault, &scene.others(), 10).await;

    let entries = scene.entries().await;
    let [_, other] = scene.others();
    let return_ = async {
        scene.common().thaw();
        other.put("/svc/a-new", "10.0.0.4:80").await;
        let sees = |view: &View| view.live && view.has("10.0.0.4:80");
        scene
            .consumer
            .sees("the change after it is back", sees)
            .await;
    };
    let both = |view: &View| view.has(A) && view.has(B);
    throughout(return_, "both", async || scene.consumer.view(), both).await;
    assert_eq!(scene.entries().await, entries);
}

/// faults row 16, when it leads
#[tokio::test]
async fn clients_of_a_leader_that_is_cut_off_move_to_another_and_keep_their_leases() {
    let scene = Scene::set([Ttl::MIN, ttl(4)]).await;
    scene.cluster.move_leader(scene.common).await;

    let fault = async {
        sleep(Duration::from_millis(300)).await;
        scene.common().freeze();
        scene.cluster.leader().await;
    };
    scene.goes_through(fault, &scene.others(), 10).await;
}

/// faults row 5, with a majority down: a lease ends only when there is a leader.
#[tokio::test]
async fn a_cluster_without_a_quorum_keeps_its_leases_and_consumers_what_they_know() {
    let scene = Scene::set([Ttl::MIN, ttl(4)]).await;
    scene.cluster.move_leader(scene.another()).await;
    let entries = scene.entries().await;
    let made = scene.consumer.made();

    let outage = async {
        for member in scene.others() {
            member.kill();
        }
        let notices = scene.consumer.sees("the outage", |view| !view.live);
        tokio::join!(notices, sleep(3 * Ttl::MIN.duration()));
        for member in scene.others() {
            member.start_again().await;
        }
        let [one, _] = scene.others();
        insist(one, "/svc/c", "10.0.0.3:80").await;
        let sees = |view: &View| view.live && view.has("10.0.0.3:80");
        scene.consumer.sees("a change after it", sees).await;
        scene.more_than_a_ttl().await;
    };
    let both = |view: &View| view.has(A) && view.has(B);
    throughout(outage, "both", async || scene.consumer.view(), both).await;

    assert_eq!(scene.entries().await, entries, "nothing was put again");
    assert_eq!(scene.consumer.made() - made, 1, "endpoints are kept");
}
