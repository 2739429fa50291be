//! Calls
#[cfg(feature = "client")]
mod call;
#[cfg(feature = "tonic")]
mod grpc;
#[cfg(feature = "client")]
pub use call::{AttemptError, CallPolicy, RequestBody, Routing, nothing_executed};
/// x
#[derive(Debug)]
pub struct ConnectError;
impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("x")
    }
}
impl std::error::Error for ConnectError {}
