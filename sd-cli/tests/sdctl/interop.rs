//! What programs in Go see of a program that is run registered. They are those of `interop/`, over the registry
//! libraries of their frameworks; `./run interop` builds them and runs this.

use crate::{
    run::{free_port, pid_in, until_gone},
    support::{Running, on},
};
use rustix::process::{Signal, kill_process};
use sd_tests::{Etcd, PATIENCE, eventually};
use serde_json::Value;
use std::{
    env,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// A framework: its program in Go, with the flags of a consumer, and the format here.
struct Framework {
    program: &'static str,
    flags: &'static [&'static str],
    format: &'static str,
    /// Whether the format can say that an instance drains.
    says_draining: bool,
}

const FRAMEWORKS: [Framework; 3] = [
    Framework {
        program: "gokit",
        flags: &[],
        format: "gokit",
        says_draining: false,
    },
    Framework {
        program: "kratos",
        flags: &[],
        format: "kratos?scheme=http",
        says_draining: false,
    },
    Framework {
        program: "dubbogo",
        flags: &["--mode", "app", "--poll-ms", "20"],
        format: "dubbo-app",
        says_draining: true,
    },
];

/// A consumer in Go, which prints its view at each change.
struct Consumer(Running);

impl Consumer {
    fn start(framework: &Framework, etcd: &Etcd) -> Self {
        let folder = env::var_os("INTEROP_PEERS")
            .expect("INTEROP_PEERS names the programs in Go; `./run interop` builds them");
        let mut command = Command::new(PathBuf::from(folder).join(framework.program));
        command
            .args(["discover", "--etcd", &etcd.address().to_string()])
            .args(["--service", "hello"])
            .args(framework.flags)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Self(Running::start(command))
    }

    /// Waits until it shows these addresses, and of them these as disabled.
    async fn shows(&self, what: &str, addresses: &[&str], disabled: &[&str]) {
        let view = async || {
            let lines = self.0.out();
            let events = lines.iter().map(|line| serde_json::from_str::<Value>(line));
            let mut views = events.flatten().filter(|event| event["event"] == "view");
            views.next_back().unwrap_or_default()
        };
        let has = |view: &Value, field: &str, expected: &[&str]| {
            let all = view[field].as_array().into_iter().flatten();
            all.filter_map(Value::as_str).eq(expected.iter().copied())
        };
        eventually(PATIENCE, what, view, |view| {
            view["n"].is_u64() && has(view, "addrs", addresses) && has(view, "disabled", disabled)
        })
        .await;
    }
}

/// A web server in Python, run registered. It serves a folder, in which it leaves its process id.
fn web_server(etcd: &Etcd, format: &str, port: u16, folder: &Path) -> Running {
    let (port, folder) = (port.to_string(), folder.display());
    let script =
        format!("cd {folder}; echo $$ > pid; exec python3 -m http.server {port} --bind 127.0.0.1");
    let options = ["--check", "http:/", "--drain", "1h"];
    let line = [
        "--format", format, "run", "--name", "hello", "--port", &port,
    ];
    let command = ["--", "sh", "-c", &script];
    Running::on(etcd, &[&line[..], &options, &command].concat())
}

#[tokio::test]
#[ignore = "needs the programs in Go: ./run interop"]
async fn consumers_in_go_see_a_program_come_drain_and_go() {
    for framework in FRAMEWORKS {
        let etcd = Etcd::start().await;
        let consumer = Consumer::start(&framework, &etcd);
        consumer.shows("nothing", &[], &[]).await;
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let port = free_port();
        let address = &*format!("127.0.0.1:{port}");

        let server = web_server(&etcd, framework.format, port, folders[0].path());
        consumer.shows("it joins", &[address], &[]).await;

        // An operator takes it out, where there is a word for it.
        let arguments = ["--format", framework.format, "drain", address];
        let drained = on(&etcd, &arguments).await;
        if framework.says_draining {
            drained.succeeded();
            consumer.shows("it drains", &[address], &[address]).await;
            let arguments = ["--format", framework.format, "undrain", address];
            on(&etcd, &arguments).await.succeeded();
            consumer.shows("it serves again", &[address], &[]).await;
        } else {
            let refused = drained.failed();
            assert!(refused.err.contains("cannot say"), "{refused:?}");
        }

        // Told to end, it is kept from new calls first, and answers those that come all the same.
        server.signal(Signal::TERM);
        match framework.says_draining {
            true => consumer.shows("it drains", &[address], &[address]).await,
            false => consumer.shows("it is out", &[], &[]).await,
        }
        TcpStream::connect(address).expect("it serves on");
        let ended = server.told(Signal::TERM).await;
        assert_eq!(ended.status.code(), Some(143), "{ended:?}");
        consumer.shows("it is gone", &[], &[]).await;

        // Killed, it is gone at once, and not with its lease.
        let server = web_server(&etcd, framework.format, port, folders[1].path());
        consumer.shows("it joins again", &[address], &[]).await;
        let pid = pid_in(&folders[1].path().join("pid")).await;
        kill_process(pid, Signal::KILL).unwrap();
        let ended = server.ended().await;
        assert_eq!(ended.status.code(), Some(137), "{ended:?}");
        until_gone(pid).await;
        assert_eq!(etcd.keys("").await, [""; 0], "{ended:?}");
        consumer.shows("it was killed", &[], &[]).await;
    }
}
