//! A warning of passwords that can be read on the network.

use super::meters;
use crate::{
    config::{Endpoint, Options},
    support::count,
};
use sd_core::Escaped;

/// Warns that the password of the user goes to one of `endpoints` in plain text, if it does. One on this
/// machine is none.
pub(crate) fn warn_of_plain_text(options: &Options, endpoints: &[Endpoint]) {
    if options.is_encrypted || options.credentials.is_none() {
        return;
    }
    if let Some(endpoint) = endpoints.iter().find(|endpoint| !endpoint.is_loopback()) {
        count(meters::PLAIN_TEXT_PASSWORDS, None, 1);
        tracing::warn!(
            endpoint = %Escaped(endpoint),
            "the password of the user is sent in plain text: use https://"
        );
    }
}
