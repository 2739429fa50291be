//! A consumer of ours: what its instancer shows, or its endpointer.

use crate::history::{History, View};
use futures::StreamExt;
use sd_core::{EndpointSource, Endpointer, Event, Source};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Follows a source, and keeps what it showed. Ends when it is dropped.
pub(crate) struct Consumer {
    history: History,
    task: JoinHandle<()>,
}

impl Consumer {
    pub(crate) fn of(source: impl Source) -> Self {
        let history = History::default();
        let source: Arc<dyn Source> = Arc::new(source);
        let mut events = source.subscribe();
        let task = tokio::spawn({
            let history = history.clone();
            async move {
                while let Some(event) = events.next().await {
                    history.saw(view(&event));
                }
                drop(source);
            }
        });
        Self { history, task }
    }

    /// The addresses that calls go to.
    pub(crate) fn of_endpoints(endpointer: &Arc<Endpointer<String>>) -> Self {
        let history = History::default();
        let mut versions = endpointer.versions();
        let task = tokio::spawn({
            let (history, endpointer) = (history.clone(), endpointer.clone());
            async move {
                loop {
                    versions.borrow_and_update();
                    let mut view = View::default();
                    let endpoints = endpointer.endpoints();
                    let addresses = endpoints.iter().map(|it| it.target().clone());
                    view.addresses.extend(addresses);
                    view.addresses.sort_unstable();
                    history.saw(view);
                    if versions.changed().await.is_err() {
                        return;
                    }
                }
            }
        });
        Self { history, task }
    }

    /// What it has shown.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn view(event: &Event) -> View {
    let mut view = View::default();
    for instance in event.instances() {
        let address = instance.address().to_owned();
        if let Some(weight) = instance.said_weight() {
            view.weights.insert(address.clone(), weight.into());
        }
        view.addresses.push(address);
    }
    view.addresses.sort_unstable();
    view
}
