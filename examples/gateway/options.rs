//! The options of the gateway.

use crate::members::{ETCD, endpoints};
use lexopt::{
    Arg::{Long, Short},
    ValueExt,
};
use sd_core::{BoxError, Prefix};
use std::{collections::BTreeMap, time::Duration};

pub(crate) const USAGE: &str = "\
usage: gateway [--etcd URL[,URL] | --fixed NAME=ADDRESS[,ADDRESS] ...] [OPTIONS]

An HTTP and gRPC reverse proxy: /hello/path goes to an instance of the service hello, as /path.
Without --etcd and --fixed it runs alone, with a few servers of its own.

  --etcd URL[,URL]     the services that are registered in an etcd, such as http://127.0.0.1:2379
  --prefix PREFIX      where they are registered, PREFIX/NAME/INSTANCE; /services
  --fixed NAME=ADDRESS[,ADDRESS]
                       no registry: a service and its instances; may be repeated
  --listen ADDRESS     where to listen; 127.0.0.1:8080
  --grpc SERVICE=NAME  calls of a gRPC service, such as hello.v1.Greeter, go to the service NAME;
                       may be repeated. Others go to the service that is the host of :authority
  --answer-timeout S   how long a service may take to begin an answer, in seconds; 10
  --drain S            how long requests may take to finish at the end, in seconds; 10
  --trust-forwarded    believe the Forwarded and X-Forwarded-* headers of requests, and add to them:
                       for a gateway behind another proxy
  -h, --help           print this";

pub(crate) struct Options {
    pub(crate) fleet: Fleet,
    pub(crate) listen: String,
    /// The service to call for the full name of a gRPC service.
    pub(crate) grpc: BTreeMap<String, String>,
    pub(crate) answer_timeout: Duration,
    pub(crate) drain: Duration,
    pub(crate) trust_forwarded: bool,
}

/// Where the services are.
pub(crate) enum Fleet {
    /// In this process.
    Demo,
    #[cfg(feature = "etcd")]
    Etcd { urls: String, prefix: Prefix },
    /// By their names.
    Fixed(BTreeMap<String, Vec<String>>),
}

impl Options {
    /// `None` if help was asked for.
    pub(crate) fn parse() -> Result<Option<Self>, BoxError> {
        let mut options = Self {
            fleet: Fleet::Demo,
            listen: "127.0.0.1:8080".into(),
            grpc: BTreeMap::new(),
            answer_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            trust_forwarded: false,
        };
        let (mut etcd, mut fixed) = (None, BTreeMap::new());
        let mut prefix = Prefix::new("/services")?;
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("etcd") => etcd = Some(arguments.value()?.string()?),
                Long("prefix") => prefix = Prefix::new(arguments.value()?.string()?)?,
                Long("fixed") => {
                    let (name, addresses) = pair("--fixed", "NAME=ADDRESS", &mut arguments)?;
                    let addresses = addresses.split(',').map(Into::into).collect();
                    fixed.insert(name, addresses);
                }
                Long("listen") => options.listen = arguments.value()?.string()?,
                Long("grpc") => {
                    options
                        .grpc
                        .extend([pair("--grpc", "SERVICE=NAME", &mut arguments)?]);
                }
                Long("answer-timeout") => options.answer_timeout = seconds(&mut arguments)?,
                Long("drain") => options.drain = seconds(&mut arguments)?,
                Long("trust-forwarded") => options.trust_forwarded = true,
                Long("help") | Short('h') => return Ok(None),
                other => return Err(format!("{}\n\n{USAGE}", other.unexpected()).into()),
            }
        }
        options.fleet = match (etcd, fixed.is_empty()) {
            (None, true) => {
                let demo = || ("hello.v1.Greeter".into(), "greeter".into());
                options.grpc.extend(std::iter::once_with(demo));
                Fleet::Demo
            }
            (None, false) => Fleet::Fixed(fixed),
            (Some(urls), true) => etcd_fleet(urls, prefix)?,
            (Some(_), false) => return Err("--etcd and --fixed exclude each other".into()),
        };
        Ok(Some(options))
    }
}

/// The services in the etcd at `urls`.
fn etcd_fleet(urls: String, prefix: Prefix) -> Result<Fleet, BoxError> {
    if endpoints(&urls).next().is_none() {
        return Err(format!("--etcd names no etcd, such as {ETCD}").into());
    }
    #[cfg(feature = "etcd")]
    return Ok(Fleet::Etcd { urls, prefix });
    #[cfg(not(feature = "etcd"))]
    Err(format!(
        "this gateway was built without etcd. With it (building needs `protoc`):\n\n    \
         cargo run --bin gateway --features gateway,etcd -- --etcd {urls} --prefix {prefix}"
    )
    .into())
}

/// The value of an option that has two parts.
fn pair(
    option: &str,
    form: &str,
    arguments: &mut lexopt::Parser,
) -> Result<(String, String), BoxError> {
    let value = arguments.value()?.string()?;
    match value.split_once('=') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => {
            Ok((left.into(), right.into()))
        }
        _ => Err(format!("{option} {value}: write it as {option} {form}").into()),
    }
}

fn seconds(arguments: &mut lexopt::Parser) -> Result<Duration, BoxError> {
    let seconds: f64 = arguments.value()?.parse()?;
    Ok(Duration::try_from_secs_f64(seconds)?)
}
