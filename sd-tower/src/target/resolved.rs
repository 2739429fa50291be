//! Targets whose instances are followed.

use super::{Target, TargetOptions};
use sd_core::{Event, Events, Result, Source, Trouble, async_trait};
use std::{fmt, sync::Arc};

/// A target whose instances are followed. It is a [`Source`].
///
/// What it holds ends with its last clone.
#[derive(Clone)]
pub struct ResolvedTarget {
    target: Target,
    source: Arc<dyn Source>,
}

impl ResolvedTarget {
    pub(super) fn new(target: Target, source: Arc<dyn Source>) -> Self {
        Self { target, source }
    }

    /// What was resolved.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Which instances are called, and which of them next.
    pub fn options(&self) -> &TargetOptions {
        self.target.options()
    }
}

#[async_trait]
impl Source for ResolvedTarget {
    fn subscribe(&self) -> Events {
        self.source.subscribe()
    }

    fn state(&self) -> Option<Event> {
        self.source.state()
    }

    async fn ready(&self) -> Result<()> {
        self.source.ready().await
    }

    fn trouble(&self) -> Option<Trouble> {
        self.source.trouble()
    }
}

impl fmt::Debug for ResolvedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedTarget")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
