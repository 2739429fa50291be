//! Counters of clients' calls.

/// How many calls of each kind the clients of a registry have made, answered or not.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sd_core::{Client, Prefix};
/// use sd_memory::Registry;
///
/// let registry = Registry::new();
/// registry.client().get_entries(&Prefix::new("/services/hello")?).await?;
/// assert_eq!(registry.calls().lists, 1);
/// assert_eq!(registry.calls().watches, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// Lists of a prefix.
    pub lists: u64,
    /// Watches opened.
    pub watches: u64,
    /// Registrations.
    pub registers: u64,
    /// Registrations put back or changed.
    pub reclaims: u64,
    /// Removals of a service, by deregistration or by a dropped handle.
    pub removals: u64,
    /// Single entries read, changed or deleted by whoever does not hold them.
    pub edits: u64,
    /// Keep-alives of leases.
    pub keep_alives: u64,
}
