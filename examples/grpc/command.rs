//! The command line.

use crate::{client::ClientOptions, server::ServerOptions};
use lexopt::{
    Arg::{self, Long, Short, Value},
    Parser, ValueExt,
};
use sd_core::BoxError;
use sd_tower::{Advertise, Target};
use std::ffi::OsString;

pub(crate) const USAGE: &str = "\
usage: grpc
       grpc server --registry TARGET [OPTIONS]
       grpc client TARGET [OPTIONS]

Without arguments: two servers and a client in this process, on a registry in memory.
A TARGET names a registry and a service, such as etcd://127.0.0.1:2379/hello. That of a client may
name a balancer too: etcd://127.0.0.1:2379/hello?balancer=weighted

server
  --registry TARGET  where to register
  --listen ADDRESS   where to serve calls; 127.0.0.1:0, which is any free port
  --network NETWORK  register the address of this host in this network, such as 10.0.0.0/8;
                     the address that it listens on
  --admin ADDRESS    where to serve GET /info and PUT /weight?value=; 127.0.0.1:0
  --weight N         its share of the calls, relative to the others; 1

client
  --rate N           calls a second; 100
  --count N          how many calls to make; for ever";

/// What the program is to do.
pub(crate) enum Command {
    Story,
    Serve(Target, ServerOptions),
    Call(Target, ClientOptions),
    Help,
}

impl Command {
    /// What the arguments say.
    pub(crate) fn parse() -> Result<Self, BoxError> {
        let mut arguments = Parser::from_env();
        match arguments.next()? {
            None => Ok(Self::Story),
            Some(Long("help") | Short('h')) => Ok(Self::Help),
            Some(Value(half)) if half == "server" => server(arguments),
            Some(Value(half)) if half == "client" => client(arguments),
            Some(other) => Err(unexpected(other)),
        }
    }
}

fn server(mut arguments: Parser) -> Result<Command, BoxError> {
    let mut registry = None;
    let mut options = ServerOptions::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("registry") => registry = Some(target(arguments.value()?)?),
            Long("listen") => options.listen = arguments.value()?.string()?,
            Long("network") => {
                let network = arguments.value()?.string()?;
                options.advertise = Advertise::network(&network)?;
            }
            Long("admin") => options.admin = arguments.value()?.string()?,
            Long("weight") => options.weight = arguments.value()?.parse()?,
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(unexpected(other)),
        }
    }
    let registry = registry.ok_or("a server needs --registry TARGET")?;
    Ok(Command::Serve(registry, options))
}

fn client(mut arguments: Parser) -> Result<Command, BoxError> {
    let mut service = None;
    let mut options = ClientOptions::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Value(text) if service.is_none() => service = Some(target(text)?),
            Long("rate") => options.rate = arguments.value()?.parse()?,
            Long("count") => options.count = arguments.value()?.parse()?,
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(unexpected(other)),
        }
    }
    let service = service.ok_or("a client needs a TARGET")?;
    Ok(Command::Call(service, options))
}

/// The target, or what is wrong with it and where.
fn target(text: OsString) -> Result<Target, BoxError> {
    let target = text.string()?.parse::<Target>();
    target.map_err(|error| format!("{error:#}").into())
}

fn unexpected(argument: Arg<'_>) -> BoxError {
    format!("{}\n\n{USAGE}", argument.unexpected()).into()
}
