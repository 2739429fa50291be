//! The gateway of the examples, and what stands beside it.

use super::{clients::Client, servers::Program};
use sd_tests::Etcd;
use std::{
    env,
    error::Error,
    net::{SocketAddr, TcpListener},
    process::Command,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, time::sleep};

/// The proxies, each in a process of its own.
pub(super) struct Gateways {
    proxy: Program,
    fixed: (SocketAddr, Program),
    followed: (SocketAddr, Program),
    _etcd: Etcd,
}

/// How long a gateway may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

impl Gateways {
    pub(super) async fn start(servers: &[SocketAddr]) -> Result<Self, Box<dyn Error>> {
        let addresses: Vec<_> = servers.iter().map(SocketAddr::to_string).collect();
        let etcd = Etcd::start().await;
        for address in &addresses {
            etcd.put(format!("/services/hello/{address}"), address.clone())
                .await;
        }
        let list = addresses.join(",");
        Ok(Self {
            proxy: Program::own(&["--proxy", &list], 1)?,
            fixed: gateway(["--fixed".into(), format!("hello={list}")]).await?,
            followed: gateway(["--etcd".into(), etcd.endpoint()]).await?,
            _etcd: etcd,
        })
    }

    /// The clients of each, and of a server. The first one is the floor.
    pub(super) fn clients(&self, servers: &[SocketAddr]) -> Vec<Client> {
        let through = |name, address: SocketAddr| {
            Client::http(name, format!("http://{address}/hello/greeting"))
        };
        vec![
            through("least proxy, fixed list", self.proxy.addresses()[0]),
            through("gateway, fixed list", self.fixed.0),
            through("gateway, etcd", self.followed.0),
            Client::http(
                "no proxy, one server",
                format!("http://{}/greeting", servers[0]),
            ),
        ]
    }
}

/// Starts the gateway of the examples, which `./run bench` has built, and waits until it listens.
async fn gateway(fleet: [String; 2]) -> Result<(SocketAddr, Program), Box<dyn Error>> {
    let program = env::current_exe()?.with_file_name("gateway");
    if !program.exists() {
        return Err("the gateway is not built: `./run bench` does that".into());
    }
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new(program);
    command.args(fleet).args(["--listen", &address.to_string()]);
    let gateway = Program::quiet(command)?;
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        if begun.elapsed() > PATIENCE {
            return Err("the gateway does not listen".into());
        }
        sleep(Duration::from_millis(10)).await;
    }
    // Its instances come a moment later.
    let client = Client::http("", format!("http://{address}/hello/greeting"));
    while client.clone().call().await.is_err() {
        if begun.elapsed() > PATIENCE {
            return Err("the gateway does not answer".into());
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok((address, gateway))
}
