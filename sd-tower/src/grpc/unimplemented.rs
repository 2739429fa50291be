//! Methods that some servers do not implement.

use super::classify::outcome_of;
use sd_core::Outcome;
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tonic::Code;

/// Tells a method that nobody implements, which is the caller's fault, from one that only some
/// servers do, such as old ones in the middle of an update: these fail calls that others would
/// serve.
///
/// Costs one atomic load per call until a server has answered `UNIMPLEMENTED`.
#[derive(Default)]
pub(super) struct UnimplementedMethods {
    has_any: AtomicBool,
    /// By method, whether a server has implemented it since.
    methods: Mutex<HashMap<Box<str>, bool>>,
}

/// So many methods are remembered.
const MOST: usize = 256;

impl UnimplementedMethods {
    /// Takes note of an answer. Returns whether it is `UNIMPLEMENTED` of a method that others
    /// implement.
    pub(super) fn is_fault(&self, method: &str, code: Option<Code>) -> bool {
        let is_unimplemented = code == Some(Code::Unimplemented);
        if !is_unimplemented && !self.has_any.load(Ordering::Relaxed) {
            return false;
        }
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = methods.len() < MOST;
        match methods.get_mut(method) {
            Some(is_served) => {
                let served = code.is_none_or(|code| outcome_of(code) == Outcome::Success);
                *is_served |= served && !is_unimplemented;
            }
            None if is_unimplemented && has_room => {
                methods.insert(method.into(), false);
                self.has_any.store(true, Ordering::Relaxed);
            }
            None => {}
        }
        is_unimplemented && methods.get(method) == Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_others_serve_has_to_be_served() {
        let methods = UnimplementedMethods::default();
        let unimplemented = Some(Code::Unimplemented);
        assert!(!methods.is_fault("/a/b", None));
        assert!(!methods.is_fault("/a/b", unimplemented));
        assert!(!methods.is_fault("/a/b", unimplemented));
        assert!(!methods.is_fault("/a/c", None));
        assert!(!methods.is_fault("/a/b", Some(Code::Unavailable)));
        assert!(!methods.is_fault("/a/b", unimplemented));
        assert!(!methods.is_fault("/a/b", None));
        assert!(methods.is_fault("/a/b", unimplemented));
        assert!(!methods.is_fault("/a/c", unimplemented));
        for n in 0..1000 {
            methods.is_fault(&format!("/a/{n}"), unimplemented);
        }
        assert_eq!(methods.methods.lock().unwrap().len(), MOST);
    }
}
