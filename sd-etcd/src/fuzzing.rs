//! What reads what etcd sends, as functions of bytes: the fuzz targets and the property tests of
//! `tests/tests/fuzzing.rs` run them. Each panics if what it promises does not hold. They are no part of
//! the public API.
//!
//! | function | input | promise |
//! |---|---|---|
//! | `list` | the pages of a list | it ends, within its limits, with each key once and in order |
//! | `watch` | responses on a watch stream | each watch hears of its own keys only, and of its end |
//! | `messages` | addresses of members and reasons, as text | an error is a line, and an endpoint is one |

use crate::{
    config::Endpoint,
    errors::{denies_watch, is_token_refused, translate, translate_cancel_reason},
};
use sd_core::{ErrorChain, fuzzing::assert_is_line};

pub use crate::watching::fuzzing::{list, watch};

/// etcd says the text in `input` as the address of a member, as the reason for which it ends a watch, and as
/// the message of a status.
pub fn messages(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);

    match Endpoint::new(text, false) {
        Ok(endpoint) => {
            assert!(!endpoint.url().contains('@'), "it has credentials");
            let uri: http::Uri = endpoint.url().parse().expect("a URL");
            assert_eq!(uri.port_u16(), Some(endpoint.port()));
            assert!(endpoint.url().bytes().all(|byte| byte.is_ascii_graphic()));
        }
        Err(error) => {
            let shown = ErrorChain(&error).to_string();
            assert_is_line(&shown);
            assert!(!text.contains('@') || !shown.contains(text), "{shown}");
        }
    }

    let error = translate_cancel_reason(text);
    assert_is_line(&ErrorChain(&error).to_string());
    let _ = (denies_watch(text), is_token_refused(text));
    let code = input.first().map_or(0, |byte| i32::from(byte % 20));
    let status = tonic::Status::new(code.into(), text);
    let error = translate(etcd_client::Error::GRpcStatus(status));
    assert_is_line(&ErrorChain(&error).to_string());
}
