//! What is different on a terminal: colours, the live table, Ctrl-C, the question for a password.

use crate::support::sdctl;
use pty_process::blocking::{Command, Pty, open};
use rustix::termios::{LocalModes, tcgetattr};
use sd_tests::{Etcd, PATIENCE, eventually};
use std::{
    future::ready,
    io::{Read, Write},
    process::{Child, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

const CTRL_C: &[u8] = b"\x03";

/// A program on a terminal. Killed when dropped.
struct Terminal {
    program: Child,
    terminal: Arc<Pty>,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Runs `sdctl --etcd ...`, whose terminal this is.
    fn run(etcd: &Etcd, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let endpoint = etcd.endpoint();
        let command = sdctl(&[&["--etcd", &endpoint], arguments].concat());
        let (terminal, inside) = open().expect("there are terminals");
        let program = Command::from(command.into_std())
            .envs(variables.iter().copied())
            .env("TERM", "xterm")
            .spawn(inside)
            .expect("it can be run");
        let (terminal, seen) = (Arc::new(terminal), Arc::<Mutex<Vec<u8>>>::default());
        let (from, kept) = (terminal.clone(), seen.clone());
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error when the program has ended.
            while let Ok(read @ 1..) = (&*from).read(&mut buffer) {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(&buffer[..read]);
            }
        });
        Self {
            program,
            terminal,
            seen,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen).into_owned()
    }

    async fn shows(&self, text: &str) {
        let shown = async || self.text();
        eventually(PATIENCE, text, shown, |shown| shown.contains(text)).await;
    }

    fn press(&self, keys: &[u8]) {
        (&*self.terminal).write_all(keys).unwrap();
    }

    /// Whether it shows what is typed, and Ctrl-C is a signal.
    fn is_as_before(&self) -> bool {
        let modes = tcgetattr(&*self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON)
    }

    /// Waits for the end of the program. All that it has shown is read then.
    async fn ended(&mut self) -> ExitStatus {
        let ended = || ready(self.program.try_wait().unwrap());
        let status = eventually(PATIENCE, "its end", ended, Option::is_some).await;
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status.unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only if it has ended by itself.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[tokio::test]
async fn there_are_colours_on_a_terminal_and_none_with_no_color() {
    let etcd = Etcd::start().await;
    etcd.put("/services/hello/10.0.0.1:80", "10.0.0.1:80").await;
    for (no_color, has_colours) in [("", true), ("1", false)] {
        let mut terminal = Terminal::run(&etcd, &["list", "hello"], &[("NO_COLOR", no_color)]);
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
async fn what_takes_long_says_what_it_waits_for() {
    let etcd = Etcd::start().await;
    etcd.freeze();
    let arguments = ["--timeout", "60s", "list"];
    let mut terminal = Terminal::run(&etcd, &arguments, &[]);
    let waiting = format!("waiting for {} ...", etcd.endpoint());
    terminal.shows(&waiting).await;
    etcd.thaw();
    assert!(terminal.ended().await.success(), "{:?}", terminal.text());
    let text = terminal.text();
    let (_, after) = text.split_once(&waiting).unwrap();
    assert!(after.starts_with("\r\x1b[K"), "{text:?}");
}

#[tokio::test]
async fn the_live_table_follows_and_leaves_the_terminal_as_it_was() {
    let etcd = Etcd::start().await;
    etcd.put("/services/hello/10.0.0.1:80", "10.0.0.1:80").await;
    let mut terminal = Terminal::run(&etcd, &["watch", "--live", "hello"], &[]);
    terminal.shows("10.0.0.1:80").await;
    etcd.put("/services/hello/10.0.0.2:80", "10.0.0.2:80").await;
    terminal.shows("10.0.0.2:80").await;
    etcd.freeze();
    terminal.shows("etcd does not answer").await;
    etcd.thaw();
    terminal.press(CTRL_C);
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
    let options = ["run", "--name", "hello", "--port", "9", "--check", "none"];
    let script = "read line; echo nothing to read; exec sleep 600";
    let command = ["--drain", "10ms", "--", "sh", "-c", script];
    let mut terminal = Terminal::run(&etcd, &[&options[..], &command].concat(), &[]);
    terminal.shows("nothing to read").await;
    terminal.shows("serving: hello").await;
    terminal.press(CTRL_C);
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

#[tokio::test]
async fn a_password_is_asked_for_and_not_shown() {
    let etcd = Etcd::start().await;
    etcd.put("/services/hello/10.0.0.1:80", "10.0.0.1:80").await;
    etcd.enable_auth().await;
    etcd.add_user("ops", "hunter2", "/services/").await;
    let arguments = ["--user", "ops", "list", "hello"];

    let mut terminal = Terminal::run(&etcd, &arguments, &[]);
    terminal.shows("password of ops: ").await;
    // A typing error that is taken back.
    terminal.press(b"hunter3\x7f2\n");
    assert!(terminal.ended().await.success(), "{:?}", terminal.text());
    let text = terminal.text();
    assert!(text.contains("/services/hello/10.0.0.1:80"), "{text:?}");
    assert!(!text.contains("hunter"), "{text:?}");
    assert!(terminal.is_as_before());

    // Whoever does not know it gets the terminal back.
    let mut terminal = Terminal::run(&etcd, &arguments, &[]);
    terminal.shows("password of ops: ").await;
    assert!(!terminal.is_as_before());
    terminal.press(b"hunt");
    terminal.press(CTRL_C);
    assert_eq!(terminal.ended().await.code(), Some(1));
    terminal.shows("no password was given").await;
    assert!(terminal.is_as_before());
    etcd.disable_auth().await;
}
