//! What proves that a request was not executed.

use super::request_body::RequestBodyError;
use std::{error::Error as StdError, iter::successors};

/// Whether `error`, with which a request failed before the head of its response had come, proves
/// that no server has executed anything of it. Such a request may be sent again, whatever it does.
///
/// Looks through the chain of [sources](StdError::source). Proof is:
///
/// | error | why |
/// |---|---|
/// | [`ConnectError`](crate::ConnectError), hyper-util's `is_connect()`, which reqwest's errors have as a source | there was no connection to send it on |
/// | [`hyper::Error::is_canceled`] | the connection was closed before the request was written to it |
/// | a `GOAWAY` of the server on a [`Connection`](crate::Connection) | the request has a higher number than the last one that the server looked at ([RFC 9113, 6.8]) |
/// | a reset by the server with `REFUSED_STREAM` | the server says so ([RFC 9113, 8.7]) |
///
/// Everything else proves nothing: a connection that broke may have carried the request before. So
/// may one of hyper-util's pool that ends with a `GOAWAY`: its two halves run on two tasks, and hyper
/// reports the `GOAWAY` for a request that was sent just before it arrived too (seen with hyper 1.12:
/// about half of those were executed).
///
/// ```
/// use sd_tower::nothing_executed;
/// use std::io::{Error, ErrorKind};
///
/// let broken = Error::from(ErrorKind::BrokenPipe);
/// assert!(!nothing_executed(&broken));
/// ```
///
/// [RFC 9113, 6.8]: https://www.rfc-editor.org/rfc/rfc9113#section-6.8
/// [RFC 9113, 8.7]: https://www.rfc-editor.org/rfc/rfc9113#section-8.7
pub fn nothing_executed(error: &(dyn StdError + 'static)) -> bool {
    #[cfg_attr(not(feature = "hyper"), expect(unused_mut))]
    let mut is_of_a_pool = false;
    for error in chain(error) {
        if is_of_the_request_body(error) {
            // Below is an error of the caller's, which may be about another request.
            return false;
        }
        #[cfg(feature = "hyper")]
        if error.is::<hyper_util::client::legacy::Error>() {
            is_of_a_pool = true;
        }
        if is_goaway(error) {
            return !is_of_a_pool;
        }
        if proves(error) {
            return true;
        }
    }
    false
}

/// The error and its sources.
pub(crate) fn chain(error: &Source) -> impl Iterator<Item = &Source> {
    fn source<'a>(error: &&'a Source) -> Option<&'a Source> {
        (**error).source()
    }
    successors(Some(error), source)
}

type Source = dyn StdError + 'static;

fn is_of_the_request_body(error: &(dyn StdError + 'static)) -> bool {
    let error_of_hyper = error.downcast_ref::<hyper::Error>();
    error.is::<RequestBodyError>() || error_of_hyper.is_some_and(hyper::Error::is_user)
}

/// Whether the request waited for a connection that somebody else was opening, who went away. Says
/// nothing about the endpoint.
#[cfg(feature = "hyper")]
pub(super) fn lost_its_connect(error: &(dyn StdError + 'static)) -> bool {
    let is_connect = |error: &Source| {
        error
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
    };
    chain(error).any(is_connect) && !chain(error).any(|error| error.is::<crate::ConnectError>())
}

fn is_goaway(error: &(dyn StdError + 'static)) -> bool {
    error
        .downcast_ref::<h2::Error>()
        .is_some_and(|error| error.is_remote() && error.is_go_away())
}

fn proves(error: &(dyn StdError + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return error.is_canceled();
    }
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        let is_refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        return error.is_remote() && error.is_reset() && is_refused;
    }
    #[cfg(feature = "hyper")]
    if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
        return error.is_connect();
    }
    #[cfg(any(feature = "hyper", feature = "tonic"))]
    if error.is::<crate::ConnectError>() {
        return true;
    }
    false
}
