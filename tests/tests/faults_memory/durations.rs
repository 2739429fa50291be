//! Row 44: any duration in any option.

use crate::*;
use sd_core::{Deregistered, Endpointer, Instancer, Prefix, Registrar, factory_fn};
use std::sync::Arc;

const DURATIONS: [Duration; 3] = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];

/// Row 44: whatever is too long is as good as for ever, and whatever is too short is as good as at
/// once.
#[tokio::test(start_paused = true)]
async fn any_duration_can_be_given() {
    for duration in DURATIONS {
        let registry = Registry::new();
        let instancer = Instancer::builder(registry.client(), Prefix::new(PREFIX).unwrap())
            .grace(duration)
            .longest_pause(duration)
            .build();
        instancer.ready().await.unwrap();
        let registrar = Registrar::builder(registry.client(), service(KEY, ADDRESS))
            .backoff(duration, duration)
            .build();
        registrar.register().await.unwrap();
        let instancer = Arc::new(instancer);
        let factory = factory_fn(|instance| Ok(instance.address().to_owned()));
        let endpointer = Endpointer::builder(instancer.clone(), factory)
            .invalidate_on_error(duration)
            .factory_timeout(duration.max(seconds(1)))
            .factory_backoff(duration, duration)
            .build();
        endpointer.ready().await.unwrap();

        // Trouble, in which each of them counts, and its end.
        registry.kill();
        tokio::time::sleep(seconds(60)).await;
        registry.restart();
        let both = async || {
            let event = instancer.state().unwrap();
            let stands = registry.get(KEY).is_some();
            (event.instances().len(), event.health().is_live(), stands)
        };
        let well = |state: &(usize, bool, bool)| *state == (1, true, true);
        sd_tests::eventually(seconds(7200), "all to be well", both, well).await;

        let removed = registrar.deregister().await.unwrap();
        assert_eq!(removed, Deregistered::Removed, "{duration:?}");
    }
}
