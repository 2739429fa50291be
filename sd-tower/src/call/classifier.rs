//! What the caller says about the answers of servers.

use super::protocol::Protocol;
use http::HeaderMap;
use sd_core::Outcome;
use std::sync::Arc;

/// What an answer says about its server, as the caller sees it.
pub(crate) struct Classifier<Code> {
    pub(super) of_code: Arc<dyn Fn(&Code) -> Outcome + Send + Sync>,
    /// Of what ends a body. `None` if that has no code.
    pub(super) of_end: OfEnd,
}

pub(super) type OfEnd = Arc<dyn Fn(&HeaderMap) -> Option<Outcome> + Send + Sync>;

impl<Code: 'static> Classifier<Code> {
    pub(crate) fn new<P: Protocol<Code = Code>>(
        classify: impl Fn(&Code) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        let of_code = Arc::new(classify);
        let of_end = {
            let of_code = of_code.clone();
            move |trailers: &HeaderMap| P::code_of_end(trailers).map(|code| of_code(&code))
        };
        Self {
            of_code,
            of_end: Arc::new(of_end),
        }
    }
}
