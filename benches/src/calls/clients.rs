//! The clients that call.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{StatusCode, Uri};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use sd_core::{FixedInstancer, Instance, Key, RoundRobin};
use sd_example_proto::{GreetRequest, greeter_client::GreeterClient};
use sd_tower::Channel;
use std::{
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tonic::transport;

/// One way to call.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) name: &'static str,
    greeter: Kind,
}

#[derive(Clone)]
enum Kind {
    Tonic(GreeterClient<transport::Channel>),
    /// One after the other: what several connections cost, without any balancing.
    InTurn(Arc<AtomicUsize>, Vec<GreeterClient<transport::Channel>>),
    Ours(GreeterClient<Channel>),
    Http(Box<legacy::Client<HttpConnector, Empty<Bytes>>>, Uri),
}

impl Client {
    /// A client that gets this page.
    pub(super) fn http(name: &'static str, uri: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self {
            name,
            greeter: Kind::Http(Box::new(client), uri.parse().unwrap_or_default()),
        }
    }

    pub(super) async fn call(&mut self) -> Result<(), Box<dyn Error>> {
        let request = GreetRequest {
            name: "Ada".to_owned(),
        };
        match &mut self.greeter {
            Kind::Tonic(greeter) => greeter.greet(request).await?,
            Kind::InTurn(turn, greeters) => {
                let turn = turn.fetch_add(1, Ordering::Relaxed) % greeters.len();
                greeters[turn].greet(request).await?
            }
            Kind::Ours(greeter) => greeter.greet(request).await?,
            Kind::Http(client, uri) => {
                let response = client.get(uri.clone()).await?;
                let status = response.status();
                response.into_body().collect().await?;
                return match status {
                    StatusCode::OK => Ok(()),
                    other => Err(other.to_string().into()),
                };
            }
        };
        Ok(())
    }
}

/// Channels of the toolkit, and the plain ones with as many servers.
pub(super) const PAIRS: [(&str, &str); 2] = [
    ("sd, one server", "tonic Channel, one server"),
    ("sd, all servers", "tonic Channels in turn, all servers"),
];

/// All clients of these servers. The first one is the floor.
pub(super) async fn clients(servers: &[SocketAddr]) -> Result<Vec<Client>, Box<dyn Error>> {
    let endpoint =
        |address: &SocketAddr| transport::Endpoint::from_shared(format!("http://{address}"));
    let plain = endpoint(&servers[0])?.connect().await?;
    let mut each = Vec::new();
    for server in servers {
        each.push(GreeterClient::new(endpoint(server)?.connect().await?));
    }
    let endpoints = servers.iter().map(endpoint);
    let balanced =
        transport::Channel::balance_list(endpoints.collect::<Result<Vec<_>, _>>()?.into_iter());
    let instances = |servers: &[SocketAddr]| {
        let instance = |address: &SocketAddr| {
            let address = address.to_string();
            Ok::<_, Box<dyn Error>>(Instance::new(Key::new(address.clone())?, address))
        };
        let instances: Result<Vec<_>, _> = servers.iter().map(instance).collect();
        instances.map(FixedInstancer::new)
    };
    let ours = [
        (
            "sd, one server",
            Channel::builder(instances(&servers[..1])?).build(),
        ),
        (
            "sd, all servers",
            Channel::builder(instances(servers)?).build(),
        ),
        (
            "sd, all servers, round robin alone",
            (Channel::builder(instances(servers)?).balancer(RoundRobin::new)).build(),
        ),
    ];
    let mut clients = vec![
        Client {
            name: "tonic Channel, one server",
            greeter: Kind::Tonic(GreeterClient::new(plain)),
        },
        Client {
            name: "tonic Channels in turn, all servers",
            greeter: Kind::InTurn(Arc::default(), each),
        },
        Client {
            name: "tonic balance_list, all servers",
            greeter: Kind::Tonic(GreeterClient::new(balanced)),
        },
    ];
    for (name, channel) in ours {
        channel.ready().await?;
        clients.push(Client {
            name,
            greeter: Kind::Ours(GreeterClient::new(channel)),
        });
    }
    Ok(clients)
}
