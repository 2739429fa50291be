//! The etcd that a command line names.

/// The default URL of etcd.
pub(crate) const ETCD: &str = "http://127.0.0.1:2379";

/// The endpoints in `URL[,URL]`.
pub(crate) fn endpoints(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|url| !url.is_empty())
}
