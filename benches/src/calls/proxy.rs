//! The least that a reverse proxy does: the floor of the gateway.

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CONNECTION, HOST},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::{
    convert::Infallible,
    error::Error,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::TcpListener;

/// Passes requests on to a fixed list of servers in turn, until the standard input ends. Prints its
/// address.
///
/// # Errors
/// There is no free port, or nobody reads.
pub fn proxy(servers: &str) -> Result<(), Box<dyn Error>> {
    let servers: Arc<[Box<str>]> = servers.split(',').map(Into::into).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        io::stdout().flush()?;
        tokio::spawn(accept(listener, servers));
        tokio::task::spawn_blocking(|| io::stdin().lock().read_to_end(&mut Vec::new())).await??;
        Ok(())
    })
}

async fn accept(listener: TcpListener, servers: Arc<[Box<str>]>) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build::<_, Incoming>(connector);
    let turn = Arc::new(AtomicUsize::new(0));
    while let Ok((connection, _)) = listener.accept().await {
        // As a server would; the measure goes on without it.
        let _ = connection.set_nodelay(true);
        let (client, turn, servers) = (client.clone(), turn.clone(), servers.clone());
        let pass_on = service_fn(move |mut request: Request<Incoming>| {
            let n = turn.fetch_add(1, Ordering::Relaxed);
            let server = &servers[n % servers.len()];
            let path = request
                .uri()
                .path_and_query()
                .map_or("/", |path| path.as_str());
            let uri = format!(
                "http://{server}{}",
                path.strip_prefix("/hello").unwrap_or(path)
            );
            *request.uri_mut() = uri.parse::<Uri>().unwrap_or_default();
            request.headers_mut().remove(HOST);
            request.headers_mut().remove(CONNECTION);
            let client = client.clone();
            async move {
                let answer = client.request(request).await;
                Ok::<_, Infallible>(
                    answer.map_or_else(|_| failed(), |answer| answer.map(Either::Left)),
                )
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), pass_on));
    }
}

fn failed() -> Response<Either<Incoming, Empty<Bytes>>> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
