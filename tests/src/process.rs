//! One process and its signals.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::{
    fs::{self, OpenOptions},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running process, an etcd or one that uses it; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    frozen: bool,
}

impl Process {
    /// Starts `binary`, which writes to `log`.
    pub(crate) fn spawn(binary: &Path, flags: &[String], log: &Path) -> Self {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let (out, err) = (
            open().expect("a log file can be written"),
            open().expect("a log file can be written"),
        );
        let mut command = Command::new(binary);
        // etcd takes its flags from the environment too.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"ETCD_") {
                command.env_remove(name);
            }
        }
        // Releases before 3.5 refuse to start there without it.
        if cfg!(target_arch = "aarch64") {
            command.env("ETCD_UNSUPPORTED_ARCH", "arm64");
        }
        let child = command
            .args(flags)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot run {}: {error}; if it is etcd, install it, or name one in ETCD_BIN",
                    binary.display()
                )
            });
        Self {
            child,
            frozen: false,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_exited(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Freezes the process (SIGSTOP). Returns when all its threads have stopped.
    pub(crate) fn freeze(&mut self) {
        if self.frozen {
            return;
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).expect("the process can be stopped");
        match waitpid(Some(pid), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) if status.stopped() => self.frozen = true,
            other => panic!("the process was to be frozen and is not: {other:?}"),
        }
    }

    pub(crate) fn thaw(&mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::CONT).expect("the process can be continued");
        self.frozen = false;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log.
pub(crate) fn log_end(log: &Path) -> String {
    let log = fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
