//! Signals to a real process: this test itself, started again.

use super::{App, Kind, PATIENCE, in_time, listener, millis, registrar};
use sd_memory::Registry;
use sd_tower::RegisteredServer;
use std::{net::SocketAddr, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};

/// How long the process lingers, in milliseconds. Set in the process alone.
const LINGER: &str = "SD_TOWER_TEST_LINGER";

/// What the process does.
#[tokio::test]
async fn in_the_process() {
    let Ok(linger) = std::env::var(LINGER) else {
        return;
    };
    let registry = Registry::new();
    let (listener, address) = listener().await;
    let server = RegisteredServer::new(listener)
        .registrar(registrar(&registry, address).build())
        .linger(millis(linger.parse().unwrap()))
        .finish(Duration::from_secs(3600))
        .on_signals();
    let mut status = server.status();
    let told = tokio::spawn(async move {
        while status.changed().await.is_ok() {
            println!("{} {address}", *status.borrow_and_update());
        }
    });
    let served = Kind::Axum.serve(server, App::new(millis(0))).await.unwrap();
    told.await.unwrap();
    println!("served {} {:?}", served.cut, served.deregistered);
}

struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(linger: u64) -> Self {
        Self::start_with(linger, 1024)
    }

    /// With room for so many open files.
    fn start_with(linger: u64, files: u32) -> Self {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {files}; exec \"$0\" \"$@\""))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "signals::in_the_process", "--nocapture"])
            .env(LINGER, linger.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for a line that begins so, and gives the rest.
    async fn says(&mut self, begin: &str) -> String {
        in_time(async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                // The first line begins with the name of the test.
                if let Some((_, rest)) = line.split_once(begin) {
                    return rest.trim().to_owned();
                }
            }
            panic!("it has not said {begin:?}")
        })
        .await
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await;
        assert!(sent.unwrap().success());
    }

    async fn ends_well(mut self) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        assert!(status.unwrap().unwrap().success());
    }
}

#[tokio::test]
async fn a_signal_ends_the_process_in_order() {
    for signal in ["-TERM", "-INT"] {
        let mut process = Process::start(100);
        process.says("serving").await;
        process.signal(signal).await;
        process.says("lingering").await;
        assert_eq!(process.says("served").await, "0 [Removed]");
        process.ends_well().await;
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_whatever_it_waits_for() {
    // For consumers that poll, and for a request that is sent half.
    for linger in [3_600_000, 0] {
        let mut process = Process::start(linger);
        let address: SocketAddr = process.says("serving").await.parse().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let half = b"POST /hello/x HTTP/1.1\r\nhost: ";
        stream.write_all(half).await.unwrap();
        process.signal("-TERM").await;
        let waits = if linger > 0 { "lingering" } else { "finishing" };
        process.says(waits).await;
        process.signal("-INT").await;
        assert_eq!(process.says("served").await, "1 [Removed]");
        process.ends_well().await;
    }
}

#[tokio::test]
async fn a_process_without_room_for_connections_accepts_again_when_it_has_some() {
    let mut process = Process::start_with(0, 32);
    let address: SocketAddr = process.says("serving").await.parse().unwrap();
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(TcpStream::connect(address).await.unwrap());
    }
    // The last is not accepted for as long as the others are there.
    let request = b"GET /hello/x HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut last = streams.pop().unwrap();
    last.write_all(request).await.unwrap();
    drop(streams);
    let mut answer = [0; 12];
    in_time(last.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, *b"HTTP/1.1 200");
    process.signal("-TERM").await;
    process.says("served").await;
    process.ends_well().await;
}
