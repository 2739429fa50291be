//! The quickstart on etcd: every provider is a process of its own, so that one can be killed.

use crate::{
    provider,
    stage::{Provider, Stage},
};
use sd_core::{BoxError, Client};
use sd_etcd::EtcdClient;
use std::{env, process::Stdio};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
};

/// An etcd on which providers are processes: this program with `--provide`.
pub(crate) struct OnEtcd {
    url: String,
}

impl OnEtcd {
    pub(crate) fn new(url: String) -> Self {
        Self { url }
    }
}

impl Stage for OnEtcd {
    fn name(&self) -> String {
        format!("etcd at {}", self.url)
    }

    fn client(&self) -> Result<impl Client, BoxError> {
        Ok(EtcdClient::connect([&self.url])?)
    }

    fn start(&self, name: &'static str) -> Result<impl Provider, BoxError> {
        let child = Command::new(env::current_exe()?)
            .args(["--etcd", &self.url, "--provide", name])
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Process(child))
    }
}

/// A provider that is a process.
struct Process(Child);

impl Provider for Process {
    async fn leave(mut self) -> Result<(), BoxError> {
        drop(self.0.stdin.take());
        let status = self.0.wait().await?;
        if !status.success() {
            return Err(format!("a provider did not end well: {status}").into());
        }
        Ok(())
    }

    /// SIGKILL.
    async fn crash(mut self) -> Result<(), BoxError> {
        Ok(self.0.kill().await?)
    }
}

/// The main function of a provider's process. Provides until its stdin ends, which it also does
/// when the parent process is gone.
pub(crate) async fn provide(url: &str, name: &str) -> Result<(), BoxError> {
    let client = EtcdClient::connect([url])?;
    let told_to_leave = async {
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    };
    let provided = provider::provide(client.clone(), name, told_to_leave).await;
    client.close().await;
    provided
}
