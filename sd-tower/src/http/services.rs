//! HttpServices: services by name, made when they are first used.

mod service_table;

use super::{
    error::HttpError,
    service::{HttpBody, HttpService},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, header::HOST, uri::Authority};
use http_body::Body;
use sd_core::{BoxError, EndpointSource, NoEndpoints};
use service_table::ServiceTable;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tower::Service;

/// HTTP services by name: `http://hello/greeting` is sent to an instance of `hello`. Cheap to clone.
///
/// The service of a name is made by a function when it is first used. The function decides which
/// names there are. It gets whatever a caller writes, so where callers are not trusted it must refuse
/// names that are not known, or each makes a watch at the registry:
///
/// ```
/// use http::Request;
/// use http_body_util::Empty;
/// use sd_core::{Instancer, Prefix};
/// use sd_memory::Registry;
/// use sd_tower::{HttpService, HttpServices};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new().client();
/// let services = HttpServices::new(move |name| {
///     if !["hello", "users"].contains(&name) {
///         return Err("it is not in the list".into());
///     }
///     let prefix = Prefix::new(format!("/services/{name}"))?;
///     Ok(HttpService::new(Instancer::new(registry.clone(), prefix)))
/// });
///
/// let request = Request::get("http://world/").body(Empty::new())?;
/// let error = services.request(request).await.unwrap_err();
/// assert_eq!(error.to_string(), "there is no service world: it is not in the list");
/// # Ok(())
/// # }
/// ```
///
/// A gateway that takes the name from somewhere else, such as the path, [gets](Self::get) the service
/// and sends to it.
///
/// At most [so many](HttpServicesBuilder::max_services) services are kept. Those that were not used
/// for a [time](HttpServicesBuilder::idle_timeout) are dropped, and made again when they are used.
#[derive(Clone)]
pub struct HttpServices(Arc<Shared>);

struct Shared {
    make: Box<Make>,
    table: Mutex<ServiceTable<HttpService>>,
    first_use_timeout: Duration,
    /// Drops those that are idle.
    _sweep: AbortOnDropHandle<()>,
}

type Make = dyn Fn(&str) -> Result<HttpService, BoxError> + Send + Sync;

/// The options of [`HttpServices`].
#[must_use = "nothing happens before `build`"]
pub struct HttpServicesBuilder {
    make: Box<Make>,
    max_services: usize,
    idle_timeout: Duration,
    first_use_timeout: Duration,
}

impl HttpServicesBuilder {
    /// How many services are kept. Over that, one without endpoints is dropped for a new one, or else
    /// the one that was not used for the longest time. Default: 1024; 0 counts as 1.
    pub fn max_services(mut self, most: usize) -> Self {
        self.max_services = most.max(1);
        self
    }

    /// How long a service is kept that is not used: nobody holds a clone, and no request waits for a
    /// response. Default: 10 min. At least a millisecond.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = limit.max(Duration::from_millis(1));
        self
    }

    /// How long the first users of a service wait until the registry has said something about it.
    /// Default: 1 s. After that their requests fail, with the reason.
    pub fn first_use_timeout(mut self, limit: Duration) -> Self {
        self.first_use_timeout = limit;
        self
    }

    /// Starts: spawns the task that drops what is not used.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> HttpServices {
        let idle_timeout = self.idle_timeout;
        HttpServices(Arc::new_cyclic(|shared| Shared {
            make: self.make,
            table: Mutex::new(ServiceTable::new(self.max_services)),
            first_use_timeout: self.first_use_timeout,
            _sweep: AbortOnDropHandle::new(tokio::spawn(sweep(shared.clone(), idle_timeout))),
        }))
    }
}

impl HttpServices {
    /// Services that `make` makes, with the default options.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new<F>(make: F) -> Self
    where
        F: Fn(&str) -> Result<HttpService, BoxError> + Send + Sync + 'static,
    {
        Self::builder(make).build()
    }

    /// Services that `make` makes, with other options.
    pub fn builder<F>(make: F) -> HttpServicesBuilder
    where
        F: Fn(&str) -> Result<HttpService, BoxError> + Send + Sync + 'static,
    {
        HttpServicesBuilder {
            make: Box::new(make),
            max_services: 1024,
            idle_timeout: Duration::from_secs(10 * 60),
            first_use_timeout: Duration::from_secs(1),
        }
    }

    /// The service of this name. Waits until the registry has said something about it, at most for
    /// the [time](HttpServicesBuilder::first_use_timeout) that first users wait. Cancellation safe.
    ///
    /// # Errors
    /// That there is none, as the function says that makes them.
    pub async fn get(&self, name: &str) -> Result<HttpService, HttpError> {
        let service = self.0.service(name)?;
        if is_unknown(&service) {
            let mut versions = service.endpoints().versions();
            let known = versions.wait_for(|_| !is_unknown(&service));
            // If it is not known by then, its calls say so.
            let _ = timeout(self.0.first_use_timeout, known).await;
        }
        Ok(service)
    }

    /// Sends a request to the service that its URI names as the host, or else its `Host` header. A
    /// port does not matter.
    ///
    /// # Errors
    /// [`HttpError`]. A response is none, whatever its status.
    pub async fn request<B>(&self, request: Request<B>) -> Result<Response<HttpBody>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let header = || Authority::try_from(request.headers().get(HOST)?.as_bytes()).ok();
        let authority = request.uri().authority().cloned().or_else(header);
        let Some(authority) = authority else {
            return Err(HttpError::invalid_request("it names no host"));
        };
        let service = self.get(authority.host()).await?;
        service.request(request).await
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ServiceTable<HttpService>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn service(&self, name: &str) -> Result<HttpService, HttpError> {
        if let Some(service) = self.lock().get(name, Instant::now()) {
            return Ok(service);
        }
        // Without the lock. If somebody else was faster, this one is dropped.
        let made = (self.make)(name).map_err(|error| HttpError::unknown_service(name, error))?;
        let is_empty = |service: &HttpService| service.endpoints().endpoints().is_empty();
        let (service, dropped) = self.lock().insert(name, made, Instant::now(), is_empty);
        drop(dropped);
        Ok(service)
    }
}

/// Whether the registry has not answered yet.
fn is_unknown(service: &HttpService) -> bool {
    matches!(
        service.endpoints().endpoints().non_empty(),
        Err(NoEndpoints::Unknown)
    )
}

/// Drops what is idle, until there is nobody who could use it.
async fn sweep(shared: Weak<Shared>, idle_timeout: Duration) {
    loop {
        sleep(idle_timeout / 2).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let is_used = |service: &HttpService| !service.is_unused();
        let idle = shared
            .lock()
            .take_idle(Instant::now(), idle_timeout, is_used);
        drop(idle);
    }
}

impl<B> Service<Request<B>> for HttpServices
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<HttpBody>;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<Response<HttpBody>, HttpError>>;

    /// Always ready: a request that cannot be sent fails by itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let services = self.clone();
        Box::pin(async move { services.request(request).await })
    }
}

impl fmt::Debug for HttpServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServices")
            .field("services", &self.0.lock().names())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpServicesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServicesBuilder")
            .field("max_services", &self.max_services)
            .field("idle_timeout", &self.idle_timeout)
            .field("first_use_timeout", &self.first_use_timeout)
            .finish_non_exhaustive()
    }
}
