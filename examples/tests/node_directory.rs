//! The output of `node_directory`.

mod shown;

use shown::shown;

const PROGRAM: &str = env!("CARGO_BIN_EXE_node_directory");

fn is_the_story(output: &str) {
    let sections: Vec<_> = output.split("\n\n").collect();
    let [_, four, junk, left, back, nobody] = sections[..] else {
        panic!("not five steps:\n{output}");
    };
    assert!(
        four.contains("chat     10.0.0.1:7000  10.0.0.2:7000  10.0.0.3:7000\n"),
        "{output}"
    );
    // Random, but never a node with another name.
    let picked = |step: &str| -> Vec<(String, usize)> {
        step.lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
            })
            .collect()
    };
    let addresses = |step| -> Vec<String> { picked(step).into_iter().map(|it| it.0).collect() };
    assert_eq!(
        addresses(four),
        ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"]
    );
    assert!(picked(four).iter().all(|(_, count)| *count > 500));
    assert!(junk.contains("mail     10.0.0.5:2500\n"), "{output}");
    assert!(junk.contains("1 entry skipped"), "{output}");
    assert!(!output.contains("10.0.0.66"), "{output}");
    assert_eq!(addresses(left), ["10.0.0.2:7000", "10.0.0.3:7000"]);
    assert!(
        back.contains("chat     10.0.0.2:7000  10.0.0.3:7000\n"),
        "{output}"
    );
    assert!(nobody.contains("lookup of fax: no such node"), "{output}");
}

#[test]
fn nodes_are_looked_up_in_memory() {
    is_the_story(&shown(PROGRAM, &[]));
}

#[cfg(feature = "etcd")]
#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_looked_up_on_etcd_and_leave_nothing_there() {
    let etcd = sd_tests::Etcd::start().await;
    let url = etcd.endpoint();

    is_the_story(&shown(PROGRAM, &["--etcd", &url]));

    assert_eq!(etcd.keys("discovery/").await, [""; 0]);
}
