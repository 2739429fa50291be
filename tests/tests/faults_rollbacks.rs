//! An etcd that was restored from a backup: its history is another from some revision on.

use futures::{StreamExt, future::join_all};
use sd_core::{Client, Gap, Prefix, Revision, Watch, WatchError};
use sd_etcd::EtcdClient;
use sd_tests::{Backup, Cluster, Consumer, Etcd, PATIENCE, Proxy, View, throughout};
use tokio::time::timeout;

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
const C: &str = "10.0.0.3:80";
const D: &str = "10.0.0.4:80";

/// More than all cases write in one history.
const OTHERS: i64 = 40;

#[derive(Debug, Clone, Copy)]
enum Op {
    Put(&'static str, &'static str),
    Delete(&'static str),
}
use Op::{Delete, Put};

/// How the client knows of what is lost.
enum Known {
    Listed,
    Followed,
}
use Known::{Followed, Listed};

/// What happens under a prefix of its own, where `/a`, `/b` and `/c` stand at the backup: how the
/// client knows what, what is lost, and what comes instead.
type Case = (&'static str, Known, &'static [Op], &'static [Op]);

const NOTICED: [Case; 10] = [
    ("one comes", Listed, &[], &[Put("/d", D)]),
    ("one goes", Listed, &[], &[Delete("/a")]),
    ("the newest goes", Listed, &[], &[Delete("/c")]),
    (
        "one for another",
        Listed,
        &[],
        &[Delete("/a"), Put("/d", D)],
    ),
    ("another value", Listed, &[], &[Put("/a", D)]),
    ("one is back", Listed, &[Delete("/c")], &[]),
    (
        "one is back, one comes",
        Listed,
        &[Delete("/c")],
        &[Put("/d", D)],
    ),
    ("a put is lost", Listed, &[Put("/d", D)], &[]),
    (
        "the same put again",
        Followed,
        &[Put("/d", D)],
        &[Put("/d", D)],
    ),
    (
        "another deletion",
        Followed,
        &[Delete("/a")],
        &[Delete("/b")],
    ),
];

const UNNOTICED: [Case; 3] = [
    ("nothing is lost", Listed, &[], &[]),
    (
        "one comes and goes",
        Listed,
        &[],
        &[Put("/d", D), Delete("/d")],
    ),
    // What a witness cannot know, by its own documentation.
    (
        "another deletion, unseen",
        Listed,
        &[Delete("/a")],
        &[Delete("/b")],
    ),
];

fn prefix(case: usize) -> Prefix {
    Prefix::new(format!("/case-{case}")).unwrap()
}

async fn apply(etcd: &Etcd, case: usize, ops: &[Op]) {
    for op in ops {
        match op {
            Put(key, value) => drop(etcd.put(format!("/case-{case}{key}"), *value).await),
            Delete(key) => assert!(etcd.delete(format!("/case-{case}{key}")).await),
        }
    }
}

/// Writes elsewhere until the counter has passed `revision`.
async fn pass(etcd: &Etcd, revision: i64) {
    while etcd.put("/others", "busy").await <= revision {}
}

/// Reads `count` changes, and returns where the watch resumes after them.
async fn resume_after(watch: &mut Watch, mut count: usize) -> Revision {
    loop {
        let item = timeout(PATIENCE, watch.next()).await.expect("a change");
        let batch = item.expect("an end has a reason").unwrap();
        count -= batch.changes.len();
        if count == 0 {
            return batch.resume;
        }
    }
}

/// Tries until etcd answers.
async fn watch(client: &EtcdClient, prefix: &Prefix, known: &Revision) -> Result<Watch, Gap> {
    let answered = async {
        loop {
            match client.watch_prefix(prefix, known).await {
                Ok(watch) => return Ok(watch),
                Err(WatchError::Gap(gap)) => return Err(gap),
                Err(_) => {}
            }
        }
    };
    timeout(PATIENCE, answered).await.expect("an answer")
}

/// Row 39: noticed whatever was lost and whatever came instead, and nobody lists again for nothing.
#[tokio::test]
async fn a_rollback_is_noticed_by_whom_it_concerns() {
    let etcd = Etcd::start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let cases = || NOTICED.iter().chain(&UNNOTICED).enumerate();
    for (case, _) in cases() {
        apply(&etcd, case, &[Put("/a", A), Put("/b", B), Put("/c", C)]).await;
    }
    let backup = etcd.back_up();
    pass(&etcd, etcd.revision().await + OTHERS).await;
    let mut known = Vec::new();
    for (case, (_, how, lost, _)) in cases() {
        let list = async || client.get_entries(&prefix(case)).await.unwrap().revision;
        let mut watch = watch(&client, &prefix(case), &list().await).await.unwrap();
        apply(&etcd, case, lost).await;
        known.push(match how {
            Listed => list().await,
            Followed => resume_after(&mut watch, lost.len()).await,
        });
    }
    let last = etcd.revision().await;

    etcd.restore(&backup).await;
    for (case, (_, _, _, instead)) in cases() {
        apply(&etcd, case, instead).await;
    }
    pass(&etcd, last).await;

    for (case, (name, ..)) in cases() {
        let resumed = watch(&client, &prefix(case), &known[case]).await;
        let is_noticed = matches!(resumed, Err(Gap::Rebuilt(_)));
        let resumed = resumed.map(drop);
        assert_eq!(is_noticed, case < NOTICED.len(), "{name}: {resumed:?}");
    }
}

/// Row 39, as a consumer sees it: the one entry that it knows is the same in both histories.
#[tokio::test]
async fn a_consumer_goes_on_after_a_rollback() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    etcd.put("/svc/a", A).await;
    etcd.put("/svc/b", B).await;
    let backup = etcd.back_up();
    etcd.delete("/svc/b").await;
    pass(&etcd, etcd.revision().await + OTHERS).await;
    let consumer = Consumer::start(proxy.endpoint(), "/svc").await;
    consumer.settles_on(&[A]).await;
    let known = etcd.revision().await;

    let rollback = async {
        proxy.refuse().await;
        proxy.drop_connections();
        etcd.restore(&backup).await;
        etcd.put("/svc/c", C).await;
        pass(&etcd, known).await;
        proxy.resume();
        consumer.settles_on(&[A, B, C]).await;
    };
    let stands = |view: &View| view.has(A);
    throughout(rollback, "a", async || consumer.view(), stands).await;

    etcd.delete("/svc/b").await;
    etcd.put("/svc/d", D).await;
    consumer.settles_on(&[A, C, D]).await;
}

/// Row 39: also where the watch goes on at another member of the cluster.
#[tokio::test]
async fn a_rollback_is_noticed_at_another_member() {
    let cluster = Cluster::start().await;
    let members = cluster.members();
    let client = EtcdClient::connect(cluster.endpoints()).unwrap();
    let prefix = Prefix::new("/svc").unwrap();
    members[0].put("/svc/a", A).await;
    members[0].put("/svc/b", B).await;
    let backups: Vec<Backup> = members.iter().map(Etcd::back_up).collect();
    members[0].delete("/svc/b").await;
    pass(&members[0], members[0].revision().await + OTHERS).await;
    let known = client.get_entries(&prefix).await.unwrap().revision;
    let last = members[0].revision().await;
    let home = members.iter().position(|it| it.client_connections() > 0);
    let home = home.expect("it hangs on one of them");

    members.iter().for_each(Etcd::kill);
    join_all(
        members
            .iter()
            .zip(&backups)
            .map(|(it, backup)| it.restore(backup)),
    )
    .await;
    members[home].kill();
    cluster.leader().await;
    let another = &members[(home + 1) % 3];
    another.put("/svc/c", C).await;
    pass(another, last).await;

    let gap = watch(&client, &prefix, &known).await.map(drop).unwrap_err();
    assert!(matches!(gap, Gap::Rebuilt(_)), "{gap}");
}

/// A revision may be of another prefix, of which the watch knows nothing later.
#[tokio::test]
async fn a_watch_resumes_from_a_revision_of_another_prefix() {
    let etcd = Etcd::start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    etcd.put("/others/a", A).await;
    etcd.put("/svc/a", A).await;
    let others = Prefix::new("/others").unwrap();
    let known = client.get_entries(&others).await.unwrap().revision;

    let svc = Prefix::new("/svc").unwrap();
    let mut watching = watch(&client, &svc, &known).await.unwrap();
    etcd.put("/others/a", B).await;
    etcd.delete("/svc/a").await;
    let after_deletion = resume_after(&mut watching, 1).await;
    etcd.put("/svc/b", B).await;
    let after_put = resume_after(&mut watching, 1).await;
    let resumed = [&after_deletion, &after_put];
    for known in resumed {
        let _ = watch(&client, &svc, known).await.unwrap();
    }

    etcd.wipe().await;
    pass(&etcd, OTHERS).await;
    for known in resumed {
        let gap = watch(&client, &svc, known).await.map(drop).unwrap_err();
        assert!(matches!(gap, Gap::Rebuilt(_)), "{gap}");
    }
}
