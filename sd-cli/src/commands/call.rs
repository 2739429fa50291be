//! `sdctl call`: a call through the whole chain, with each attempt shown.

use super::target::TargetArgs;
use crate::{
    failure::{Failure, Outcome},
    output::{self, colour, unabridged},
    settings::Settings,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use sd_core::{
    Balancer, Bytes, Ejection, EndedCall, EndpointSource, ErrorChain, Escaped, Observed, Observer,
    Outcome as Ended,
};
use sd_tower::{BalancerKind, CallPolicy, Channel, HttpService, ResolvedTarget, TargetOptions};
use serde::Serialize;
use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// The body that is read at most.
const MOST: usize = 1024 * 1024;

/// Call a service as a client would: an HTTP GET, or gRPC's health check
///
/// Through discovery, the balancer, ejection and retries. Each attempt is shown: where it went, how it ended, how long
/// it took. The exit status is 1 if a call has failed or was answered with 400 or more.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: TargetArgs,

    /// The path of the GET
    #[arg(default_value = "/", conflicts_with = "grpc")]
    path: String,

    /// Ask gRPC's health service instead: about the server, or about this service of it
    #[arg(long, value_name = "SERVICE", num_args = 0..=1, default_missing_value = "")]
    grpc: Option<String>,

    /// How many calls to make
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,

    /// How long one call may take with all its attempts
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    limit: Duration,

    /// The attempts of one call at most
    #[arg(long, value_name = "N", default_value_t = 3)]
    attempts: u32,

    /// Print the body of the answer
    #[arg(long)]
    body: bool,
}

/// A call and its attempts.
#[derive(Debug, Serialize)]
struct CallRow {
    attempts: Vec<Attempt>,
    /// The status of HTTP, or gRPC's word for the health.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    milliseconds: f64,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Attempt {
    address: String,
    outcome: String,
    milliseconds: f64,
}

/// The attempts of the call that is under way.
type Attempts = Arc<Mutex<Vec<Attempt>>>;

/// Notes the calls to one endpoint.
struct Noted {
    address: String,
    attempts: Attempts,
}

impl Observer for Noted {
    fn ended(&self, call: &EndedCall) {
        let attempt = Attempt {
            address: self.address.clone(),
            outcome: match call.outcome {
                // A connection that could not be made.
                Ended::Cancelled => "not connected".to_owned(),
                other => other.to_string(),
            },
            milliseconds: milliseconds(call.latency()),
        };
        self.attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(attempt);
    }
}

/// The balancer of a client, over endpoints whose calls are noted.
fn balancer<T: Send + Sync + 'static>(
    endpoints: Arc<dyn EndpointSource<Target = T>>,
    options: &TargetOptions,
    attempts: Attempts,
) -> Box<dyn Balancer<Target = T>> {
    let noted = Observed::new(endpoints, move |endpoint| {
        Arc::new(Noted {
            address: endpoint.address().to_owned(),
            attempts: attempts.clone(),
        })
    });
    let kind = options.balancer().unwrap_or(BalancerKind::LeastLoaded);
    kind.over(options.select(Ejection::new(noted)))
}

pub(crate) async fn run(args: Args, settings: &Settings) -> Outcome {
    let client = settings.client()?;
    let outcome = async {
        let target = args.target.resolve(&client, settings)?;
        let attempts = Attempts::default();
        let caller = Caller::new(&args, target, attempts.clone());
        let mut has_failed = false;
        for _ in 0..args.count {
            let row = caller.call(&args, &attempts).await;
            has_failed |= row.error.is_some();
            match settings.output.is_json() {
                true => output::line(&serde_json::to_string(&row)?)?,
                false => output::line(&shown(&row))?,
            }
        }
        Ok::<_, Failure>(has_failed)
    };
    let outcome = outcome.await;
    client.close().await;
    Ok(match outcome? {
        false => ExitCode::SUCCESS,
        true => ExitCode::FAILURE,
    })
}

enum Caller {
    Http(HttpService),
    Grpc(Channel, String),
}

impl Caller {
    fn new(args: &Args, target: ResolvedTarget, attempts: Attempts) -> Self {
        let options = target.options().clone();
        match &args.grpc {
            None => Self::Http(
                HttpService::of(target)
                    .policy(policy(args))
                    .balancer(move |endpoints| balancer(endpoints, &options, attempts))
                    .build(),
            ),
            Some(service) => Self::Grpc(
                Channel::of(target)
                    // A health check changes nothing.
                    .policy(
                        policy(args)
                            .idempotent(true)
                            .retry_on([tonic::Code::Unavailable]),
                    )
                    .balancer(move |endpoints| balancer(endpoints, &options, attempts))
                    .build(),
                service.clone(),
            ),
        }
    }

    async fn call(&self, args: &Args, attempts: &Attempts) -> CallRow {
        let start = Instant::now();
        let answer = match self {
            Self::Http(service) => get(service, args).await,
            Self::Grpc(channel, service) => check(channel, service).await,
        };
        let milliseconds = milliseconds(start.elapsed());
        let noted = attempts.lock().map(|mut noted| std::mem::take(&mut *noted));
        let (status, body, error) = match answer {
            Ok(Answer {
                status,
                body,
                is_bad,
            }) => {
                let error = is_bad.then(|| format!("answered {status}"));
                (Some(status), body, error)
            }
            Err(why) => (None, Bytes::new(), Some(why)),
        };
        CallRow {
            attempts: noted.unwrap_or_default(),
            status,
            milliseconds,
            bytes: body.len(),
            body: args
                .body
                .then(|| String::from_utf8_lossy(&body).into_owned()),
            error,
        }
    }
}

fn policy<C>(args: &Args) -> CallPolicy<C> {
    CallPolicy::new()
        .timeout(args.limit)
        .max_attempts(args.attempts)
        .wait_for_endpoints(args.limit)
}

struct Answer {
    status: String,
    body: Bytes,
    is_bad: bool,
}

async fn get(service: &HttpService, args: &Args) -> Result<Answer, String> {
    let path = match args.path.starts_with('/') {
        true => args.path.clone(),
        false => format!("/{}", args.path),
    };
    // The host is that of the service, as for a client.
    let request = Request::get(format!("http://{}{path}", host(args.target.service())))
        .header("user-agent", "sdctl")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = service
        .request(request)
        .await
        .map_err(|error| ErrorChain(&error).to_string())?;
    let status: StatusCode = answer.status();
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    let body = body
        .map_err(|error| ErrorChain(&*error).to_string())?
        .to_bytes();
    let is_bad = status.is_client_error() || status.is_server_error();
    Ok(Answer {
        status: status.to_string(),
        body,
        is_bad,
    })
}

/// A name of a service that is none of a host is not sent as one.
fn host(service: &str) -> &str {
    let is_host = service
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    match is_host {
        true => service,
        false => "service",
    }
}

async fn check(channel: &Channel, service: &str) -> Result<Answer, String> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel.clone()).check(request).await;
    let answer = answer.map_err(|status| match status.message() {
        "" => format!("{:?}", status.code()),
        message => format!("{:?}: {}", status.code(), Escaped(message)),
    })?;
    let status = answer.into_inner().status().as_str_name().to_owned();
    Ok(Answer {
        is_bad: status != "SERVING",
        status,
        body: Bytes::new(),
    })
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn shown(row: &CallRow) -> String {
    let mut lines = Vec::new();
    for (index, attempt) in row.attempts.iter().enumerate() {
        let is_last = index + 1 == row.attempts.len();
        let style = match is_last && row.error.is_none() {
            true => colour::GOOD,
            false => colour::WARNING,
        };
        lines.push(format!(
            "  attempt {} at {}: {style}{}{style:#} after {} ms",
            index + 1,
            Escaped(&attempt.address),
            attempt.outcome,
            attempt.milliseconds
        ));
    }
    let (status, bytes, took) = (row.status.as_deref(), row.bytes, row.milliseconds);
    lines.push(match (status, &row.error) {
        (Some(status), None) => format!("{status}, {bytes} bytes, {took} ms"),
        (Some(status), Some(_)) => format!(
            "{}{status}{:#}, {bytes} bytes, {took} ms",
            colour::BAD,
            colour::BAD
        ),
        (None, error) => {
            let why = error.as_deref().unwrap_or_default();
            format!(
                "{}failed{:#} after {took} ms: {why}",
                colour::BAD,
                colour::BAD
            )
        }
    });
    if let Some(body) = &row.body {
        lines.extend(body.lines().map(unabridged));
    }
    lines.join("\n")
}
