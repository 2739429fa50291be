//! `run` and `register`, with programs that exit, crash, hang, ignore signals, fork and flood their output.

use crate::support::{Running, on, run, sdctl};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sd_tests::{Etcd, PATIENCE, eventually};
use std::{net::TcpListener as StdListener, path::Path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A command line of `sdctl run`, of the service `hello`.
fn line<'a>(options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    let common = [
        "run",
        "--name",
        "hello",
        "--drain",
        "100ms",
        "--check-interval",
        "50ms",
    ];
    [&common, options, &["--"], command].concat()
}

async fn entry(etcd: &Etcd) -> Option<String> {
    let value = etcd.get("/services/hello/127.0.0.1:9").await?;
    Some(String::from_utf8(value).unwrap())
}

async fn until_registered(etcd: &Etcd) {
    eventually(
        PATIENCE,
        "the entry",
        async || entry(etcd).await,
        Option::is_some,
    )
    .await;
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Waits for a file that a program writes a process id into.
pub(crate) async fn pid_in(file: &Path) -> Pid {
    let read = async || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.strip_suffix('\n')
            .and_then(|text| text.parse().ok())
            .and_then(Pid::from_raw)
    };
    eventually(PATIENCE, "a process id", read, Option::is_some)
        .await
        .unwrap()
}

/// Neither running nor a zombie.
pub(crate) async fn until_gone(pid: Pid) {
    let gone = async || test_kill_process(pid).is_err();
    eventually(PATIENCE, "the end of a process", gone, |gone| *gone).await;
}

const PORT: [&str; 4] = ["--port", "9", "--check", "none"];

#[tokio::test]
async fn the_exit_status_is_passed_on_and_the_entry_is_gone_by_then() {
    let etcd = Etcd::start().await;
    for (script, expected) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("kill -9 $$", 137),
        ("kill -SEGV $$", 139),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let go = dir.path().join("go");
        let script = format!(
            "while ! [ -e {} ]; do sleep 0.02; done; {script}",
            go.display()
        );
        let running = Running::on(&etcd, &line(&PORT, &["sh", "-c", &script]));
        until_registered(&etcd).await;
        std::fs::write(&go, "").unwrap();
        let ended = running.ended().await;
        assert_eq!(ended.status.code(), Some(expected), "{ended:?}");
        assert_eq!(entry(&etcd).await, None, "{ended:?}");
    }
    assert_eq!(etcd.leases().await, [0; 0]);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_never_registered() {
    let etcd = Etcd::start().await;
    let ended = Running::on(&etcd, &line(&PORT, &["/nonexistent/program"]))
        .ended()
        .await;
    assert_eq!(ended.status.code(), Some(127), "{ended:?}");
    let ended = Running::on(&etcd, &line(&PORT, &["/etc/passwd"]))
        .ended()
        .await;
    assert_eq!(ended.status.code(), Some(126), "{ended:?}");
    assert_eq!(entry(&etcd).await, None);
}

#[tokio::test]
async fn on_sigterm_the_entry_goes_first_and_the_signal_follows() {
    let etcd = Etcd::start().await;
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen");
    // It looks whether it is still registered when the signal comes.
    let get = format!(
        "{} --etcd {} get /services/hello/127.0.0.1:9",
        crate::support::SDCTL,
        etcd.endpoint()
    );
    let script = format!(
        "trap '{get} >/dev/null 2>&1; echo $? > {}; exit 7' TERM; while :; do sleep 0.02; done",
        seen.display()
    );
    let options = [&PORT[..], &["--weight", "2"]].concat();
    let running = Running::on(&etcd, &line(&options, &["bash", "-c", &script]));
    until_registered(&etcd).await;
    let ended = running.told(Signal::TERM).await;
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
    assert_eq!(
        std::fs::read_to_string(seen).unwrap(),
        "1\n",
        "it was registered: {ended:?}"
    );
    assert!(ended.err.contains("deregistered: removed"), "{ended:?}");
}

/// It is stopped while the edit is made, so that it learns of that and of the signal at once.
#[tokio::test]
async fn it_drains_also_if_it_has_not_heard_yet_that_an_operator_ended_the_draining() {
    let etcd = Etcd::start().await;
    let common = ["run", "--name", "hello", "--weight", "2", "--drain", "1h"];
    let running = Running::on(
        &etcd,
        &[&common, &PORT[..], &["--", "sleep", "600"]].concat(),
    );
    until_registered(&etcd).await;
    on(&etcd, &["drain", "127.0.0.1:9"]).await.succeeded();
    running.says("somebody has edited the entry").await;
    running.signal(Signal::STOP);
    on(&etcd, &["undrain", "127.0.0.1:9"]).await.succeeded();
    running.signal(Signal::TERM);
    running.signal(Signal::CONT);
    let drains = |entry: &Option<String>| entry.as_ref().is_some_and(|it| it.contains("draining"));
    let seen = async || entry(&etcd).await;
    eventually(PATIENCE, "the draining", seen, drains).await;
    let ended = running.told(Signal::TERM).await;
    assert_eq!(ended.status.code(), Some(143), "{ended:?}");
    assert_eq!(entry(&etcd).await, None, "{ended:?}");
}

#[tokio::test]
async fn a_program_that_ignores_the_signal_is_killed_with_all_that_it_has_started() {
    let etcd = Etcd::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! > {}; wait; wait",
        file.display()
    );
    let options = [&PORT[..], &["--stop-limit", "200ms"]].concat();
    let running = Running::on(&etcd, &line(&options, &["sh", "-c", &script]));
    let sleeper = pid_in(&file).await;
    until_registered(&etcd).await;
    let ended = running.told(Signal::TERM).await;
    assert_eq!(ended.status.code(), Some(137), "{ended:?}");
    until_gone(sleeper).await;
}

#[tokio::test]
async fn a_second_signal_ends_the_draining() {
    let etcd = Etcd::start().await;
    let options = [
        &PORT[..],
        &[
            "--weight",
            "2",
            "--drain",
            "1h",
            "--deregister-limit",
            "60s",
        ],
    ]
    .concat();
    let command = ["run", "--name", "hello"]
        .iter()
        .chain(&options)
        .chain(&["--", "sleep", "600"]);
    let command: Vec<_> = command.copied().collect();
    let running = Running::on(&etcd, &command);
    until_registered(&etcd).await;
    running.signal(Signal::INT);
    let draining =
        |entry: &Option<String>| entry.as_ref().is_some_and(|it| it.contains("draining"));
    eventually(
        PATIENCE,
        "it to drain",
        async || entry(&etcd).await,
        draining,
    )
    .await;
    let ended = running.told(Signal::TERM).await;
    assert_eq!(ended.status.code(), Some(143), "{ended:?}");
    assert_eq!(entry(&etcd).await, None);
}

#[tokio::test]
async fn processes_that_it_leaves_behind_are_reaped_and_ended() {
    let etcd = Etcd::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (orphan, short) = (dir.path().join("orphan"), dir.path().join("short"));
    // Two forks, so that their parent is gone: one ends while the program runs, one stays.
    let script = format!(
        "sh -c 'sleep 0.1 & echo $! > {}'; sh -c 'sleep 600 & echo $! > {}'; while ! [ -e {}/go ]; do sleep 0.02; done",
        short.display(),
        orphan.display(),
        dir.path().display()
    );
    let running = Running::on(&etcd, &line(&PORT, &["sh", "-c", &script]));
    let short = pid_in(&short).await;
    until_gone(short).await;
    let orphan = pid_in(&orphan).await;
    std::fs::write(dir.path().join("go"), "").unwrap();
    let ended = running.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    until_gone(orphan).await;
}

#[tokio::test]
async fn a_flood_of_output_passes_untouched() {
    let etcd = Etcd::start().await;
    let endpoint = etcd.endpoint();
    let flood =
        "i=0; while [ $i -lt 200 ]; do head -c 65536 /dev/zero; i=$((i+1)); done; echo end >&2";
    let arguments = [
        &["--etcd", &endpoint][..],
        &line(&PORT, &["sh", "-c", flood]),
    ]
    .concat();
    let ended = run(sdctl(&arguments)).await.succeeded();
    assert_eq!(ended.out.len(), 200 * 65536);
    assert!(ended.out.bytes().all(|byte| byte == 0));
    assert!(ended.err.lines().any(|line| line == "end"), "{}", ended.err);
}

#[tokio::test]
async fn signals_of_the_program_are_passed_on() {
    let etcd = Etcd::start().await;
    let script = "trap 'echo hup' HUP; trap 'echo usr1' USR1; trap 'exit 5' USR2; echo up; while :; do sleep 0.02; done";
    let running = Running::on(&etcd, &line(&PORT, &["bash", "-c", script]));
    running.prints("up").await;
    running.signal(Signal::HUP);
    running.prints("hup").await;
    running.signal(Signal::USR1);
    running.prints("usr1").await;
    let ended = running.told(Signal::USR2).await;
    assert_eq!(ended.status.code(), Some(5), "{ended:?}");
}

/// What a server answers that hangs.
const NOTHING: &str = "";

/// Answers GETs with what is wanted, one connection at a time.
async fn http_server(listener: TcpListener, status: tokio::sync::watch::Receiver<&'static str>) {
    let mut held = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        if *status.borrow() == NOTHING {
            held.push(stream);
            continue;
        }
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let answer = format!("HTTP/1.1 {}\r\ncontent-length: 0\r\n\r\n", *status.borrow());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

#[tokio::test]
async fn it_is_registered_drains_and_serves_as_its_check_says() {
    let etcd = Etcd::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, status) = tokio::sync::watch::channel("503 Unavailable");
    let server = tokio::spawn(http_server(listener, status));
    let key = format!("/services/hello/{address}");
    let value = async || {
        let value = etcd.get(&*key).await.unwrap_or_default();
        String::from_utf8(value).unwrap()
    };
    let options = [
        "--address",
        &address,
        "--check",
        "http:/health",
        "--weight",
        "3",
        "--zone",
        "eu-1",
        "--meta",
        "a=b",
    ];
    let running = Running::on(&etcd, &line(&options, &["sleep", "600"]));
    running.says("the check fails").await;
    assert_eq!(value().await, "");
    tell.send_replace("204 No Content");
    let serving = |value: &String| value.contains(r#""weight":3"#) && !value.contains("draining");
    let registered = eventually(PATIENCE, "it to be registered", value, serving).await;
    assert!(
        registered.contains("eu-1") && registered.contains(r#""a":"b""#),
        "{registered}"
    );
    let lease = etcd.entry(&*key).await.unwrap().lease();
    tell.send_replace("500 Oops");
    eventually(PATIENCE, "it to drain", value, |value| {
        value.contains("draining")
    })
    .await;
    tell.send_replace("200 OK");
    eventually(PATIENCE, "it to serve again", value, serving).await;
    assert_eq!(etcd.entry(&*key).await.unwrap().lease(), lease);
    let ended = running.told(Signal::TERM).await;
    assert_eq!(ended.status.code(), Some(143), "{ended:?}");
    server.abort();
}

/// It accepts connections and answers none; its process does not even see a signal.
#[tokio::test]
async fn a_program_that_hangs_drains_and_is_killed_in_the_end() {
    let etcd = Etcd::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, status) = tokio::sync::watch::channel("200 OK");
    let server = tokio::spawn(http_server(listener, status));
    let check = ["--address", &address, "--weight", "2", "--check", "http:/"];
    let limits = ["--check-limit", "100ms", "--stop-limit", "200ms"];
    let script = format!("echo $$ > {}; exec sleep 600", file.display());
    let options = [&check[..], &limits].concat();
    let running = Running::on(&etcd, &line(&options, &["sh", "-c", &script]));
    let program = pid_in(&file).await;
    running.says("serving: hello").await;
    kill_process(program, Signal::STOP).unwrap();
    tell.send_replace(NOTHING);
    running.says("no answer within 100ms").await;
    running.says("draining: hello").await;
    let ended = running.told(Signal::TERM).await;
    assert_eq!(ended.status.code(), Some(137), "{ended:?}");
    assert_eq!(etcd.keys("/services/").await, [""; 0]);
    until_gone(program).await;
    server.abort();
}

/// Where the format cannot say that it drains.
#[tokio::test]
async fn an_instance_that_cannot_say_so_is_taken_out_and_put_back() {
    let etcd = Etcd::start().await;
    let dir = tempfile::tempdir().unwrap();
    let well = dir.path().join("well");
    std::fs::write(&well, "").unwrap();
    let check = format!("exec:test -e {}", well.display());
    let options = ["--port", "9", "--check", &check];
    let arguments = [
        &["--format", "gokit"][..],
        &line(&options, &["sleep", "600"]),
    ]
    .concat();
    let running = Running::on(&etcd, &arguments);
    until_registered(&etcd).await;
    std::fs::remove_file(&well).unwrap();
    eventually(
        PATIENCE,
        "it to be taken out",
        async || entry(&etcd).await,
        Option::is_none,
    )
    .await;
    running.says("cannot say that it drains").await;
    std::fs::write(&well, "").unwrap();
    until_registered(&etcd).await;
    running.told(Signal::TERM).await;
    assert_eq!(entry(&etcd).await, None);
}

/// A check that hangs is a check that fails, and leaves no process behind.
#[tokio::test]
async fn a_check_that_hangs_fails_and_is_ended() {
    let etcd = Etcd::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let check = format!("exec:echo $$ > {}; sleep 600", file.display());
    let options = ["--port", "9", "--check", &check, "--check-limit", "200ms"];
    let running = Running::on(&etcd, &line(&options, &["sleep", "600"]));
    let checker = pid_in(&file).await;
    running.says("no answer within 200ms").await;
    until_gone(checker).await;
    let ended = running.told(Signal::INT).await;
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
}

#[tokio::test]
async fn etcd_may_come_later_and_go_meanwhile() {
    let etcd = Etcd::start().await;
    etcd.kill();
    let options = [&PORT[..], &["--deregister-limit", "500ms"]].concat();
    let running = Running::on(
        &etcd,
        &line(&options, &["sh", "-c", "echo up; exec sleep 600"]),
    );
    running.prints("up").await;
    running.says("registering, attempt 2").await;
    etcd.start_again().await;
    until_registered(&etcd).await;
    etcd.kill();
    // Its end is not held up by an etcd that is away.
    let ended = running.told(Signal::TERM).await;
    assert_eq!(ended.status.code(), Some(143), "{ended:?}");
}

#[tokio::test]
async fn a_registration_that_is_refused_is_an_error_before_or_after_the_start() {
    let etcd = Etcd::start().await;
    let options = ["--address", "0.0.0.0:80", "--check", "none"];
    let ended = Running::on(&etcd, &line(&options, &["echo", "started"]))
        .ended()
        .await
        .failed();
    assert!(ended.err.contains("consumers reach"), "{ended:?}");
    let options = [&PORT[..], &["--weight", "2"]].concat();
    let arguments = [
        &["--format", "gokit"][..],
        &line(&options, &["echo", "started"]),
    ]
    .concat();
    let ended = Running::on(&etcd, &arguments).ended().await.failed();
    assert!(
        ended.err.contains("cannot say") && ended.out.is_empty(),
        "{ended:?}"
    );
    etcd.enable_auth().await;
    let ended = Running::on(&etcd, &line(&PORT, &["sleep", "600"]))
        .ended()
        .await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.err.contains("cannot be registered"), "{ended:?}");
}

#[tokio::test]
async fn an_address_is_registered_without_a_program() {
    let etcd = Etcd::start().await;
    let port = free_port().to_string();
    let arguments = [
        "register",
        "--name",
        "hello",
        "--port",
        &port,
        "--check-interval",
        "50ms",
        "--drain",
        "0s",
    ];
    let running = Running::on(
        &etcd,
        &[&arguments[..], &["--check-failures", "1"]].concat(),
    );
    running.says("the check fails").await;
    assert_eq!(etcd.keys("/services/").await, [""; 0]);
    let listener = StdListener::bind(format!("127.0.0.1:{port}")).unwrap();
    running.says("serving: hello at 127.0.0.1").await;
    assert_eq!(
        etcd.keys("/services/").await,
        [format!("/services/hello/127.0.0.1:{port}")]
    );
    drop(listener);
    running.says("taken out").await;
    let ended = running.told(Signal::TERM).await.succeeded();
    assert_eq!(ended.out, "");
    assert_eq!(etcd.keys("/services/").await, [""; 0]);
    assert_eq!(etcd.leases().await, [0; 0]);
}
