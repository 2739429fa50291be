//! `sdctl run` and `sdctl register`: a program, or an address, is registered while it is well.

use crate::{
    failure::{Failure, Outcome},
    run::{self, Check, Limits, Options},
    settings::Settings,
};
use sd_core::{Advert, Escaped, Registrar, Ttl};
use sd_tower::Advertise;
use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

/// Run a program, registered while it is well
///
/// It is registered when its check passes, drains when it fails, and serves again when it recovers. On SIGTERM, SIGINT
/// or SIGQUIT it is drained (--drain) and deregistered (at most --deregister-limit), then gets the signal, and is killed
/// if it has not ended after --stop-limit. A second signal ends the draining. When it ends by itself it is deregistered
/// at once. Its exit status is passed on: 128 and the signal if it was killed, 127 if it was not found.
///
/// SIGHUP, SIGUSR1, SIGUSR2 and SIGWINCH are passed on as they come. Its output is not touched; what sdctl says goes to
/// stderr. It runs in a process group of its own, without the terminal as its input, and what it leaves behind in the
/// group is ended with it. It finds its service and address in SDCTL_SERVICE and SDCTL_ADDRESS.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    registration: RegistrationArgs,

    /// How long the program may take to end before it is killed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    stop_limit: Duration,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Register an address while it is well, until told to stop
///
/// As `sdctl run`, for a program that is started by something else.
#[derive(Debug, clap::Args)]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    registration: RegistrationArgs,
}

/// What is registered, and how it is checked.
#[derive(Debug, clap::Args)]
struct RegistrationArgs {
    /// The service
    #[arg(long)]
    name: String,

    /// The port
    #[arg(long, required_unless_present = "address")]
    port: Option<u16>,

    /// The host that is registered. Default: the address from which this host reaches etcd
    #[arg(long, conflicts_with = "address")]
    host: Option<String>,

    /// The whole address instead: host:port or a URL. The first is called, others are further addresses
    #[arg(long, value_name = "ADDRESS", conflicts_with = "port")]
    address: Vec<String>,

    /// The weight
    #[arg(long)]
    weight: Option<u32>,

    /// The zone
    #[arg(long)]
    zone: Option<String>,

    /// The version of the program
    #[arg(long)]
    version: Option<String>,

    /// The provider's own name for the instance
    #[arg(long)]
    id: Option<String>,

    /// Metadata, any number of times
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,

    /// How long the entry stays if this program crashes. Default: that of the format
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,

    /// Whether it is well: none, tcp, tcp:ADDRESS, http:/PATH, http://ADDRESS/PATH, grpc, grpc:SERVICE or exec:COMMAND.
    /// Without an address, at the one that is registered
    #[arg(long, value_name = "CHECK", default_value = "tcp")]
    check: Check,

    /// The time between checks
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    check_interval: Duration,

    /// How long a check may take
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    check_limit: Duration,

    /// How many checks in a row have to fail before it drains
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    check_failures: u32,

    /// How many checks in a row have to pass before it serves
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    check_passes: u32,

    /// How long it goes on between draining and the end of its entry
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    drain: Duration,

    /// How long the removal of its entry may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    deregister_limit: Duration,

    /// Say nothing but errors
    #[arg(long)]
    quiet: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is not NAME=VALUE".to_owned()),
    }
}

pub(crate) async fn run(args: RunArgs, settings: &Settings) -> Outcome {
    keep(args.registration, args.command, args.stop_limit, settings).await
}

pub(crate) async fn register(args: RegisterArgs, settings: &Settings) -> Outcome {
    keep(args.registration, Vec::new(), Duration::ZERO, settings).await
}

async fn keep(
    args: RegistrationArgs,
    command: Vec<String>,
    stop: Duration,
    settings: &Settings,
) -> Outcome {
    let addresses = addresses(&args, settings).await?;
    let client = settings.client()?;
    let advert = advert(&args, &addresses)?;
    let registrar = Registrar::builder_of(client.clone(), &settings.format, &args.name, &advert)?
        .drain(args.drain)
        .deregister_timeout(args.deregister_limit)
        .build();
    let options = Options {
        command,
        service: args.name,
        address: addresses.into_iter().next().unwrap_or_default(),
        check: args.check,
        interval: args.check_interval,
        check_limit: args.check_limit,
        limits: Limits {
            passes: args.check_passes,
            failures: args.check_failures,
            drain: args.drain,
            deregister: args.deregister_limit,
            stop,
        },
        is_quiet: args.quiet,
    };
    let status = run::run(options, registrar).await;
    client.close().await;
    Ok(ExitCode::from(u8::try_from(status?).unwrap_or(u8::MAX)))
}

fn advert(args: &RegistrationArgs, addresses: &[String]) -> Outcome<Advert> {
    let Some((main, others)) = addresses.split_first() else {
        return Err(Failure::new("no address is given").advice("--port, or --address"));
    };
    let mut advert = others.iter().fold(Advert::new(&**main), |advert, other| {
        advert.address(&**other)
    });
    if let Some(weight) = args.weight {
        advert = advert.weight(weight);
    }
    if let Some(zone) = &args.zone {
        advert = advert.zone(&**zone);
    }
    if let Some(version) = &args.version {
        advert = advert.version(&**version);
    }
    if let Some(id) = &args.id {
        advert = advert.id(&**id);
    }
    if let Some(ttl) = args.ttl {
        advert = advert.ttl(Ttl::new(ttl)?);
    }
    let metadata = args.metadata.iter();
    Ok(metadata.fold(advert, |advert, (name, value)| advert.metadata(name, value)))
}

/// The addresses that are registered, the one that is called first.
async fn addresses(args: &RegistrationArgs, settings: &Settings) -> Outcome<Vec<String>> {
    if !args.address.is_empty() {
        return Ok(args.address.clone());
    }
    let port = args.port.unwrap_or_default();
    if let Some(host) = &args.host {
        return Ok(vec![match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }]);
    }
    let endpoint = settings.endpoints.first().map_or("", String::as_str);
    let authority = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, authority)| authority);
    let authority = authority.split('/').next().unwrap_or_default();
    // Loopback is right where etcd is on this host too, and nowhere else.
    if is_loopback(authority) {
        return Ok(vec![format!("{}:{port}", Ipv4Addr::LOCALHOST)]);
    }
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let found = Advertise::route_to(authority).address_of(any).await;
    let found = found.map_err(|error| {
        Failure::from(error)
            .of(format_args!(
                "no address of this host is known from which it reaches {}",
                Escaped(authority)
            ))
            .advice("name it: --host or --address")
    })?;
    Ok(vec![found.to_string()])
}

fn is_loopback(authority: &str) -> bool {
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}
