//! A server that speaks etcd's protocol and answers what a test says: lies that no etcd tells.

use async_trait::async_trait;
use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvServer,
    PbKvService, PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse,
    PbRangeStreamResponse, PbResponseHeader, PbTxnRequest, PbTxnResponse, PbWatchRequest,
    PbWatchRequestUnion, PbWatchResponse, PbWatchServer, PbWatchService,
};
use futures::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming, transport::Server};

type Answer<T> = Result<Response<T>, Status>;

/// What a [`FakeEtcd`] answers. By default it is an honest etcd without keys, at revision 1.
pub trait Answers: Send + Sync + 'static {
    /// Answers a read.
    fn range(&self, _: &PbRangeRequest) -> PbRangeResponse {
        PbRangeResponse {
            header: Some(header(1)),
            ..PbRangeResponse::default()
        }
    }

    /// What a read is answered after.
    fn before_range(&self) -> BoxFuture<'static, ()> {
        future::ready(()).boxed()
    }

    /// Answers one request on a watch stream. The stream goes on while an answer does.
    fn watch(&self, request: &PbWatchRequest) -> BoxStream<'static, PbWatchResponse> {
        stream::iter(honest_watch(request)).boxed()
    }
}

/// The header of an answer at this revision.
pub fn header(revision: i64) -> PbResponseHeader {
    PbResponseHeader {
        cluster_id: 1,
        revision,
        ..PbResponseHeader::default()
    }
}

/// Answers a request on a watch stream as etcd does where nothing changes.
pub fn honest_watch(request: &PbWatchRequest) -> Option<PbWatchResponse> {
    let (watch_id, created) = match request.request_union.as_ref()? {
        PbWatchRequestUnion::CreateRequest(create) => (create.watch_id, true),
        PbWatchRequestUnion::ProgressRequest(_) => (-1, false),
        PbWatchRequestUnion::CancelRequest(_) => return None,
    };
    Some(PbWatchResponse {
        header: Some(header(1)),
        watch_id,
        created,
        ..PbWatchResponse::default()
    })
}

/// A server in this process that answers reads and watches, and nothing else. Dropping it ends it.
///
/// ```no_run
/// # use sd_tests::{Answers, FakeEtcd, header};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use etcd_client::proto::{PbRangeRequest, PbRangeResponse};
///
/// struct SaysThereIsMore;
/// impl Answers for SaysThereIsMore {
///     fn range(&self, _: &PbRangeRequest) -> PbRangeResponse {
///         PbRangeResponse { header: Some(header(1)), more: true, ..PbRangeResponse::default() }
///     }
/// }
/// let etcd = FakeEtcd::start(SaysThereIsMore).await;
/// # }
/// ```
#[derive(Debug)]
pub struct FakeEtcd {
    address: SocketAddr,
    reads: Arc<AtomicUsize>,
    _server: AbortOnDropHandle<()>,
}

impl FakeEtcd {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot listen on 127.0.0.1.
    pub async fn start(answers: impl Answers) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a server can listen on 127.0.0.1");
        let address = listener.local_addr().expect("a listener has an address");
        let reads = Arc::new(AtomicUsize::new(0));
        let service = Service {
            answers: Arc::new(answers),
            reads: reads.clone(),
        };
        let server = Server::builder()
            .add_service(PbKvServer::new(service.clone()))
            .add_service(PbWatchServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async {
            server.await.expect("a server serves");
        });
        Self {
            address,
            reads,
            _server: AbortOnDropHandle::new(server),
        }
    }

    /// Where it listens, as a client is told.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many reads it has answered.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

struct Service<A> {
    answers: Arc<A>,
    reads: Arc<AtomicUsize>,
}

impl<A> Clone for Service<A> {
    fn clone(&self) -> Self {
        Self {
            answers: self.answers.clone(),
            reads: self.reads.clone(),
        }
    }
}

#[async_trait]
impl<A: Answers> PbKvService for Service<A> {
    async fn range(&self, request: Request<PbRangeRequest>) -> Answer<PbRangeResponse> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.answers.before_range().await;
        Ok(Response::new(self.answers.range(request.get_ref())))
    }

    type RangeStreamStream = BoxStream<'static, Result<PbRangeStreamResponse, Status>>;

    async fn range_stream(&self, _: Request<PbRangeRequest>) -> Answer<Self::RangeStreamStream> {
        Err(unimplemented())
    }

    async fn put(&self, _: Request<PbPutRequest>) -> Answer<PbPutResponse> {
        Err(unimplemented())
    }

    async fn delete_range(&self, _: Request<PbDeleteRequest>) -> Answer<PbDeleteResponse> {
        Err(unimplemented())
    }

    async fn txn(&self, _: Request<PbTxnRequest>) -> Answer<PbTxnResponse> {
        Err(unimplemented())
    }

    async fn compact(&self, _: Request<PbCompactionRequest>) -> Answer<PbCompactionResponse> {
        Err(unimplemented())
    }
}

#[async_trait]
impl<A: Answers> PbWatchService for Service<A> {
    type WatchStream = BoxStream<'static, Result<PbWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<PbWatchRequest>>,
    ) -> Answer<Self::WatchStream> {
        let answers = self.answers.clone();
        let requests = request.into_inner();
        // A stream that is broken off ends in an error.
        let requests = requests.take_while(|request| future::ready(request.is_ok()));
        let responses = requests.flat_map_unordered(None, move |request| match request {
            Ok(request) => answers.watch(&request).map(Ok).boxed(),
            Err(status) => stream::iter([Err(status)]).boxed(),
        });
        Ok(Response::new(responses.boxed()))
    }
}

fn unimplemented() -> Status {
    Status::unimplemented("the fake etcd answers reads and watches")
}
