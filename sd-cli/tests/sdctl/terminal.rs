//! What is different on a terminal: colours, the live table, Ctrl-C. The terminal is one of `script`.

use crate::support::SDCTL;
use sd_tests::{Etcd, PATIENCE, eventually};
use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, Command},
    time::timeout,
};

const CTRL_C: &[u8] = b"\x03";

/// A program on a terminal.
struct Terminal {
    script: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs `sdctl` with these arguments, in which there is nothing that a shell would read.
    fn run(etcd: &Etcd, arguments: &str, variables: &[(&str, &str)]) -> Self {
        let line = format!("exec {SDCTL} --etcd {} {arguments}", etcd.endpoint());
        let mut script = Command::new("script")
            .args([
                "--quiet",
                "--return",
                "--flush",
                "--command",
                &line,
                "/dev/null",
            ])
            .envs(variables.iter().copied())
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("`script` of util-linux is there");
        let (keys, mut shown) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let kept = seen.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = shown.read(&mut buffer).await {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(&buffer[..read]);
            }
        });
        Self { script, keys, seen }
    }

    fn text(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen).into_owned()
    }

    async fn shows(&self, text: &str) {
        let shown = async || self.text();
        eventually(PATIENCE, text, shown, |shown| shown.contains(text)).await;
    }

    async fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.script.wait())
            .await
            .expect("it ends")
            .unwrap()
    }
}

#[tokio::test]
async fn there_are_colours_on_a_terminal_and_none_with_no_color() {
    let etcd = Etcd::start().await;
    etcd.put("/services/hello/10.0.0.1:80", "10.0.0.1:80").await;
    for (no_color, has_colours) in [("", true), ("1", false)] {
        let mut terminal = Terminal::run(&etcd, "list hello", &[("NO_COLOR", no_color)]);
        terminal.shows("/services/hello/10.0.0.1:80").await;
        assert!(terminal.ended().await.success());
        assert_eq!(
            terminal.text().contains('\x1b'),
            has_colours,
            "{:?}",
            terminal.text()
        );
    }
}

#[tokio::test]
async fn the_live_table_follows_and_leaves_the_terminal_as_it_was() {
    let etcd = Etcd::start().await;
    etcd.put("/services/hello/10.0.0.1:80", "10.0.0.1:80").await;
    let mut terminal = Terminal::run(&etcd, "watch --live hello", &[]);
    terminal.shows("10.0.0.1:80").await;
    etcd.put("/services/hello/10.0.0.2:80", "10.0.0.2:80").await;
    terminal.shows("10.0.0.2:80").await;
    etcd.freeze();
    terminal.shows("etcd does not answer").await;
    etcd.thaw();
    terminal.press(CTRL_C).await;
    assert!(terminal.ended().await.success());
    terminal.shows("\x1b[?25h\x1b[?1049l").await;
    assert!(
        terminal.text().contains("\x1b[?1049h\x1b[?25l"),
        "{:?}",
        terminal.text()
    );
}

/// The program is in the background of the terminal: it neither reads from it nor gets its Ctrl-C before it is drained.
#[tokio::test]
async fn a_program_that_is_run_on_a_terminal_is_drained_before_ctrl_c_reaches_it() {
    let etcd = Etcd::start().await;
    let arguments = "run --name hello --port 9 --check none --drain 10ms -- sh -c 'read line; echo nothing to read; exec sleep 600'";
    let mut terminal = Terminal::run(&etcd, arguments, &[]);
    terminal.shows("nothing to read").await;
    terminal.shows("serving: hello").await;
    terminal.press(CTRL_C).await;
    terminal.shows("passing on SIGINT").await;
    assert_eq!(
        terminal.ended().await.code(),
        Some(130),
        "{:?}",
        terminal.text()
    );
    let text = terminal.text();
    let at = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("no {what}: {text:?}"))
    };
    assert!(at("deregistered") < at("passing on SIGINT"), "{text:?}");
}
