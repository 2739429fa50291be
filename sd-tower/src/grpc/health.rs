//! GrpcHealth: asks the health service of gRPC servers.

use super::target::{GrpcTarget, TargetBody};
use crate::call::RecordedBody;
use futures::future::BoxFuture;
use http::{Request, Response};
use sd_core::{BoxError, Endpoint, Escaped, HealthCheck, async_trait};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};
use tonic::{Code, body::Body};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::{Service, ServiceExt};

/// A health check of gRPC endpoints: asks the standard service `grpc.health.v1.Health`
/// ([`Check`]), which most gRPC servers have.
///
/// ```
/// use sd_core::{ActiveHealth, Ejection, LeastLoaded, Source};
/// use sd_tower::{Channel, GrpcHealth};
///
/// fn greeters(source: impl Source) -> Channel {
///     Channel::builder(source)
///         .balancer(|endpoints| {
///             let check = GrpcHealth::of("hello.v1.Greeter");
///             LeastLoaded::new(Ejection::new(ActiveHealth::new(endpoints, check)))
///         })
///         .build()
/// }
/// ```
///
/// It asks over the connection of the endpoint, outside of the retries, policies and outcomes of
/// calls.
///
/// | answer | the endpoint is |
/// |---|---|
/// | `SERVING` | healthy |
/// | `NOT_SERVING`, `UNKNOWN`, `SERVICE_UNKNOWN` | unhealthy |
/// | the status `UNIMPLEMENTED`: it has no health service | healthy, and a warning is logged once |
/// | another status, such as `NOT_FOUND` for a service that it does not know | unhealthy |
/// | none | unhealthy |
///
/// That a server without the service is healthy is as in gRPC's own [client-side health checking]:
/// else an update that begins to check would take all servers out of use.
///
/// [`Check`]: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
/// [client-side health checking]: https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md
#[derive(Debug, Default)]
pub struct GrpcHealth {
    service: String,
    has_warned: AtomicBool,
}

impl GrpcHealth {
    /// Asks for the health of the server as a whole.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the health of one service, by its full name (`hello.v1.Greeter`).
    pub fn of(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            ..Self::default()
        }
    }
}

#[async_trait]
impl HealthCheck<GrpcTarget> for GrpcHealth {
    async fn check(&self, endpoint: &Endpoint<GrpcTarget>) -> Result<(), BoxError> {
        let mut client = HealthClient::new(OneCall(endpoint.target().clone()));
        let request = HealthCheckRequest {
            service: self.service.clone(),
        };
        match client.check(request).await {
            Ok(answer) => match answer.get_ref().status() {
                ServingStatus::Serving => Ok(()),
                other => Err(format!("the server says {}", other.as_str_name()).into()),
            },
            Err(status) if status.code() == Code::Unimplemented => {
                if !self.has_warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        address = %Escaped(endpoint.address()),
                        "the server has no health service, servers without it count as healthy"
                    );
                }
                Ok(())
            }
            Err(status) => Err(status.into()),
        }
    }
}

/// Makes a call to this target, once.
struct OneCall(GrpcTarget);

impl Service<Request<Body>> for OneCall {
    type Response = Response<TargetBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let target = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let recorded = RecordedBody::new(body, 0);
            // Resets the stream if the check is dropped.
            let (body, _sent) = recorded.replay(1);
            target.oneshot(Request::from_parts(head, body)).await
        })
    }
}
