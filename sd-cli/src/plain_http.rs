//! A GET without TLS: for checks, and for etcd's own counters.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// The answer that is read at most.
const MOST: usize = 4 * 1024 * 1024;

/// The status and the body that `address` answers. Takes as long as it takes.
///
/// # Errors
/// Why there is no answer, in words.
pub(crate) async fn get(address: &str, path: &str) -> Result<(StatusCode, Bytes), String> {
    let failed = |error: &dyn std::error::Error| format!("http://{address}{path}: {error}");
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("{address}: {error}"))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(&error))?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(path)
        .header("host", address)
        .header("user-agent", "sdctl")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| failed(&error))?;
    let status = answer.status();
    // To its end, so that no server complains of a client that has gone.
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    let body = body.map_err(|error| format!("http://{address}{path}: {error}"))?;
    Ok((status, body.to_bytes()))
}
