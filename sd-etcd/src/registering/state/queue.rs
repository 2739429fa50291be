//! The puts that wait to be sent.

use crate::registering::{actions::QueuedPut, requests::PutRequest, service_map::ServiceMap};
use sd_core::ServiceKey;
use std::collections::VecDeque;

/// The puts that wait, in the order in which they are sent.
///
/// Thousands of services may announce that they drain while each is about to be removed. So a removal must not look
/// through all puts for one of its service that mostly is not there.
#[derive(Default)]
pub(super) struct PutQueue {
    puts: VecDeque<QueuedPut>,
    /// How many there are of each service that has any.
    counts: ServiceMap<usize>,
}

impl PutQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.puts.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.puts.len()
    }

    pub(super) fn front(&self) -> Option<&QueuedPut> {
        self.puts.front()
    }

    pub(super) fn push_back(&mut self, put: QueuedPut) {
        self.count(&put);
        self.puts.push_back(put);
    }

    pub(super) fn push_front(&mut self, put: QueuedPut) {
        self.count(&put);
        self.puts.push_front(put);
    }

    /// Adds `puts` before all others, in their order.
    pub(super) fn push_all_front(&mut self, puts: impl DoubleEndedIterator<Item = QueuedPut>) {
        puts.rev().for_each(|put| self.push_front(put));
    }

    pub(super) fn pop_front(&mut self) -> Option<QueuedPut> {
        let put = self.puts.pop_front()?;
        self.uncount(&put);
        Some(put)
    }

    /// Removes all.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = QueuedPut> + use<> {
        std::mem::take(self).puts.into_iter()
    }

    /// Removes those of `service` that are meant. Returns them in their order.
    pub(super) fn remove(
        &mut self,
        service: &ServiceKey,
        is_meant: impl Fn(&PutRequest) -> bool,
    ) -> VecDeque<QueuedPut> {
        if !self.counts.contains_key(service) {
            return VecDeque::new();
        }
        let is_meant = |put: &QueuedPut| put.request.service == *service && is_meant(&put.request);
        let puts = std::mem::take(&mut self.puts).into_iter();
        let (removed, rest): (VecDeque<_>, _) = puts.partition(is_meant);
        self.puts = rest;
        removed.iter().for_each(|put| self.uncount(put));
        removed
    }

    fn count(&mut self, put: &QueuedPut) {
        *self.counts.entry(put.request.service.clone()).or_default() += 1;
    }

    fn uncount(&mut self, put: &QueuedPut) {
        let service = &put.request.service;
        if let Some(count) = self.counts.get_mut(service) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(service);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::cases;
    use bytes::Bytes;
    use proptest::{collection::vec, prelude::*};
    use sd_core::{Generation, Key, Owner, RegistrationId};

    #[derive(Debug, Clone)]
    enum Step {
        PushBack(u8),
        PushFront(u8),
        Pop,
        /// Of this service, those with an even number.
        Remove(u8),
        Drain,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_u8).prop_map(Step::PushBack),
            2 => (0..4_u8).prop_map(Step::PushFront),
            2 => Just(Step::Pop),
            2 => (0..4_u8).prop_map(Step::Remove),
            1 => Just(Step::Drain),
        ]
    }

    fn put(service: u8, number: u64) -> QueuedPut {
        QueuedPut {
            request: PutRequest {
                id: RegistrationId::new(Generation::new(), number),
                owner: Owner::new(),
                service: named(service),
                value: Bytes::from(number.to_string()),
                reclaims: None,
                reply: tokio::sync::oneshot::channel().0,
            },
            learned: None,
            attempts: 0,
            is_look: false,
            is_alone: false,
        }
    }

    fn named(service: u8) -> ServiceKey {
        Key::new(service.to_string()).unwrap().into()
    }

    fn number(put: &PutRequest) -> u64 {
        std::str::from_utf8(&put.value).unwrap().parse().unwrap()
    }

    proptest! {
        #![proptest_config(cases(1))]

        #[test]
        fn it_is_a_queue_of_which_parts_are_removed(steps in vec(step(), 0..40)) {
            let mut queue = PutQueue::default();
            let mut model = VecDeque::<(u8, u64)>::new();
            let numbers = |puts: &mut dyn Iterator<Item = QueuedPut>| -> Vec<u64> {
                puts.map(|put| number(&put.request)).collect()
            };
            for (n, step) in (0..).zip(steps) {
                match step {
                    Step::PushBack(service) => {
                        queue.push_back(put(service, n));
                        model.push_back((service, n));
                    }
                    Step::PushFront(service) => {
                        queue.push_front(put(service, n));
                        model.push_front((service, n));
                    }
                    Step::Pop => {
                        let popped = queue.pop_front().map(|put| number(&put.request));
                        prop_assert_eq!(popped, model.pop_front().map(|(_, n)| n));
                    }
                    Step::Remove(service) => {
                        let is_even = |put: &PutRequest| number(put).is_multiple_of(2);
                        let removed = queue.remove(&named(service), is_even);
                        let is_meant = |it: &(u8, u64)| it.0 == service && it.1.is_multiple_of(2);
                        let expected: Vec<_> =
                            model.iter().filter(|it| is_meant(it)).map(|(_, n)| *n).collect();
                        prop_assert_eq!(numbers(&mut removed.into_iter()), expected);
                        model.retain(|it| !is_meant(it));
                    }
                    Step::Drain => {
                        let expected: Vec<_> = model.drain(..).map(|(_, n)| n).collect();
                        prop_assert_eq!(numbers(&mut queue.drain()), expected);
                    }
                }
                let front = queue.front().map(|put| number(&put.request));
                prop_assert_eq!(front, model.front().map(|(_, n)| *n));
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                let mut counts = ServiceMap::default();
                for (service, _) in &model {
                    *counts.entry(named(*service)).or_default() += 1;
                }
                prop_assert_eq!(&queue.counts, &counts);
            }
        }
    }
}
