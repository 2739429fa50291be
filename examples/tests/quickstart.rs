//! The output of `quickstart`.

use std::{collections::BTreeMap, process::Output};
use tokio::{
    process::Command,
    time::{Duration, timeout},
};

/// What the quickstart prints for one step.
#[derive(Debug)]
struct Step {
    title: String,
    /// Names, in their order.
    sees: String,
    /// Calls answered and failed, by provider.
    calls: BTreeMap<String, (usize, usize)>,
}

async fn quickstart(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    program.args(arguments).kill_on_drop(true);
    timeout(Duration::from_secs(120), program.output())
        .await
        .expect("the quickstart comes to an end")
        .expect("the quickstart can be run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The steps that were printed. `1. anna and ben register ---- 0.0 s` begins one.
fn steps(printed: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in printed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some((title, _)) = line.split_once(" --") {
            steps.push(Step {
                title: title.into(),
                sees: String::new(),
                calls: BTreeMap::new(),
            });
        }
        let Some(step) = steps.last_mut() else {
            continue;
        };
        if let ["consumer", "sees", seen @ ..] = &*words {
            step.sees = seen.join(" ");
        } else if let [name, address, marks @ ..] = &*words
            && address.starts_with("127.0.0.1:")
        {
            let count = |mark| marks.iter().filter(|it| **it == mark).count();
            step.calls.insert((*name).into(), (count("o"), count("x")));
        }
    }
    steps
}

fn is_the_story(printed: &str) {
    let steps = steps(printed);
    let calls = |step: usize, name: &str| steps[step].calls.get(name).copied();
    let expected = [
        ("1. anna and ben register", "anna ben"),
        ("2. clara joins", "anna ben clara"),
        ("3. anna deregisters", "ben clara"),
        ("4. ben crashes, and nobody tells the registry", "ben clara"),
        ("5. ben's lease runs out", "clara"),
    ];
    let told: Vec<_> = steps.iter().map(|it| (&*it.title, &*it.sees)).collect();
    assert_eq!(told, expected, "{printed}");

    // Everybody gets a turn.
    assert_eq!(
        (calls(0, "anna"), calls(0, "ben")),
        (Some((3, 0)), Some((3, 0)))
    );
    for name in ["anna", "ben", "clara"] {
        assert_eq!(calls(1, name), Some((2, 0)), "{printed}");
    }
    // A provider that has left is not called. One that has crashed is, and another one answers.
    assert_eq!((calls(2, "anna"), calls(2, "ben")), (None, Some((3, 0))));
    assert!(matches!(calls(3, "ben"), Some((0, 1..))), "{printed}");
    assert_eq!(calls(3, "clara"), Some((6, 0)), "{printed}");
    assert!(matches!(calls(4, "clara"), Some((1.., 0))), "{printed}");

    let sum = printed.lines().last().unwrap_or_default();
    let words: Vec<&str> = sum.split_whitespace().collect();
    let [answered, "of", made, ..] = &*words else {
        panic!("no sum at the end:\n{printed}");
    };
    assert_eq!(answered, made, "{printed}");
}

#[tokio::test]
async fn the_story_is_told_on_memory() {
    let output = quickstart(&[]).await;

    assert!(output.status.success(), "{}", text(&output.stderr));
    is_the_story(&text(&output.stdout));
}

#[cfg(feature = "etcd")]
#[tokio::test]
async fn the_same_story_is_told_on_etcd() {
    use sd_tests::{Etcd, PATIENCE, eventually};
    let etcd = Etcd::start().await;

    let output = quickstart(&["--etcd", &etcd.endpoint()]).await;

    assert!(output.status.success(), "{}", text(&output.stderr));
    is_the_story(&text(&output.stdout));
    assert_eq!(etcd.keys("/").await, [""; 0]);
    let leases = || etcd.leases();
    eventually(PATIENCE, "no lease", leases, Vec::is_empty).await;
}

#[cfg(feature = "etcd")]
#[tokio::test]
async fn providers_of_others_are_not_mixed_into_the_story() {
    let etcd = sd_tests::Etcd::start().await;
    etcd.put("/services/hello/somebody", "127.0.0.1:9").await;

    let output = quickstart(&["--etcd", &etcd.endpoint()]).await;

    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("/services/hello/ already: somebody"),
        "{error}"
    );
    assert_eq!(etcd.keys("/").await, ["/services/hello/somebody"]);
}

#[cfg(feature = "etcd")]
#[tokio::test]
async fn an_etcd_that_is_not_there_is_said() {
    // Nothing listens on the discard port.
    let output = quickstart(&["--etcd", "http://127.0.0.1:9"]).await;

    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("is an etcd running at http://127.0.0.1:9?"),
        "{error}"
    );
}

#[cfg(not(feature = "etcd"))]
#[tokio::test]
async fn without_etcd_the_option_says_how_to_have_it() {
    let output = quickstart(&["--etcd", "http://127.0.0.1:2379"]).await;

    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    let command = "cargo run --bin quickstart --features etcd -- --etcd http://127.0.0.1:2379";
    assert!(error.contains(command), "{error}");
}

#[tokio::test]
async fn an_unknown_option_is_refused_with_the_usage() {
    let output = quickstart(&["--speed", "2"]).await;

    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("--speed") && error.contains("usage: quickstart"),
        "{error}"
    );
}
