//! Responses on a watch stream.

use super::raw::{bytes, header, number};
use crate::{
    config::Options,
    watching::{
        buffer::WatchBuffer,
        requests::{NewWatch, Opened},
        responses::{End, Reaction},
        token::ResumeToken,
        watches::Watches,
        witness::Witness,
    },
};
use arbitrary::{Result, Unstructured};
use etcd_client::proto::{PbEvent, PbKeyValue, PbWatchResponse};
use futures::FutureExt;
use sd_core::{Batch, Error, ErrorChain, Gap, WatchError, fuzzing::assert_is_line};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    time::Instant,
};

const READERS: u64 = 6;
/// What is held for one watch.
const MOST_BYTES: usize = 2000;
/// The largest value.
const VALUE: usize = 1000;

/// Several watches hear the responses in `input`, between what readers do and what happens to the stream.
/// No watch hears of a key of another, none goes back, what is unread is bounded, and when the stream is
/// closed every reader is told.
pub fn watch(input: &[u8]) {
    let mut world = World {
        options: Options {
            max_message_bytes: MOST_BYTES,
            ..Options::unchecked()
        },
        watches: Watches::default(),
        readers: Vec::new(),
        now: Instant::now(),
    };
    let mut input = Unstructured::new(input);
    while !input.is_empty() && world.step(&mut input).is_ok() {
        let active = &world.watches.active;
        let ids: HashSet<u64> = active.values().map(|it| it.id).collect();
        assert_eq!(ids.len(), active.len(), "one watch under two ids");
    }
    world.close();
}

struct World {
    options: Options,
    watches: Watches,
    readers: Vec<Reader>,
    now: Instant,
}

/// The reader of a watch of `/w0/`, `/w1/`, ...
struct Reader {
    id: u64,
    prefix: String,
    buffer: Arc<WatchBuffer>,
    opened: oneshot::Receiver<std::result::Result<Opened, WatchError>>,
    /// Up to which revision it was told.
    revision: i64,
    has_ended: bool,
    is_cancelled: bool,
}

impl World {
    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.int_in_range(0..=15)? {
            0 => self.add(number(input)?),
            1 => drop(self.watches.create_next(self.now)),
            2 => {
                drop(self.watches.create_next(self.now));
                drop(self.watches.create_empty());
            }
            3 => {
                // The honest answer to the first watch that waits for one.
                let watch_id = self.watches.creating.front().map(|it| it.watch_id);
                self.respond(PbWatchResponse {
                    watch_id: watch_id.unwrap_or_default(),
                    created: true,
                    ..PbWatchResponse::default()
                });
            }
            4..=10 => {
                let response = response(input)?;
                self.respond(response);
            }
            11 | 12 => {
                let index = input.int_in_range(0..=READERS as usize - 1)?;
                if let Some(reader) = self.readers.get_mut(index) {
                    while reader.read() {}
                }
            }
            13 => {
                let id = input.int_in_range(0..=READERS - 1)?;
                if let Some(reader) = self.readers.iter_mut().find(|it| it.id == id) {
                    reader.is_cancelled = true;
                    let _ = self.watches.cancel(id);
                }
            }
            14 => self.now += Duration::from_millis(input.arbitrary::<u32>()?.into()),
            _ => match input.int_in_range(0..=3)? {
                0 => self.watches.interrupt(&Error::unavailable("gone")),
                1 => self.watches.end_with_gap(&Gap::Compacted),
                2 => self.watches.disrupt(&Error::unavailable("silent"), true),
                _ => self.watches.recovered(),
            },
        }
        Ok(())
    }

    fn add(&mut self, revision: i64) {
        let id = self.readers.len() as u64;
        if id == READERS {
            return;
        }
        let prefix = format!("/w{id}/");
        let buffer = Arc::new(WatchBuffer::new(MOST_BYTES));
        let (sender, opened) = oneshot::channel();
        self.watches.add(NewWatch {
            id,
            token: ResumeToken {
                cluster: 0,
                revision,
                prefix: prefix.as_bytes().into(),
                witness: Witness::of_none(),
            },
            buffer: buffer.clone(),
            opened: sender,
        });
        self.readers.push(Reader {
            id,
            prefix,
            buffer,
            opened,
            revision,
            has_ended: false,
            is_cancelled: false,
        });
    }

    fn respond(&mut self, response: PbWatchResponse) {
        let Reaction { end, .. } = self.watches.respond(response, &self.options, 1, self.now);
        if let Some(End::Interrupted(error) | End::Broken(error)) = end {
            assert_is_line(&ErrorChain(&error).to_string());
            self.watches.interrupt(&error);
        }
    }

    /// The stream is closed for good.
    fn close(mut self) {
        self.watches.interrupt(&Error::Closed);
        assert!(self.watches.is_idle());
        for mut reader in self.readers {
            while reader.read() {}
            if reader.is_cancelled {
                continue;
            }
            let is_told = match reader.opened.try_recv() {
                Ok(Ok(Opened::Started { .. })) => reader.has_ended,
                Ok(Ok(Opened::Denied) | Err(_)) => true,
                Err(TryRecvError::Closed) => true,
                Err(TryRecvError::Empty) => false,
            };
            assert!(is_told, "the reader of {} waits for ever", reader.prefix);
        }
    }
}

impl Reader {
    /// Reads the next item. Returns `false` if there is none.
    fn read(&mut self) -> bool {
        let Some(item) = self.buffer.next().now_or_never().flatten() else {
            return false;
        };
        assert!(!self.has_ended, "an item after the end");
        match item {
            Ok(batch) => self.check(&batch),
            Err(error) => {
                assert_is_line(&ErrorChain(&error).to_string());
                self.has_ended = !matches!(error, WatchError::Disrupted(_));
            }
        }
        true
    }

    fn check(&mut self, batch: &Batch) {
        let token = ResumeToken::of(&batch.resume).expect("a token of this backend");
        assert!(token.revision >= self.revision, "it goes back");
        self.revision = token.revision;
        let keys = batch.changes.iter().map(|change| change.key());
        let mut foreign = keys.filter(|key| !key.as_str().starts_with(&self.prefix));
        assert_eq!(foreign.next(), None, "not below {}", self.prefix);
        let values = batch.changes.iter().filter_map(|change| change.value());
        let bytes: usize = values.map(|value| value.len()).sum();
        assert!(bytes <= MOST_BYTES + VALUE, "{bytes} bytes");
    }
}

/// A response, often one to a watch that there is.
fn response(input: &mut Unstructured<'_>) -> Result<PbWatchResponse> {
    let watch_id = number(input)? % (READERS as i64 + 2);
    let kind: u8 = input.arbitrary()?;
    let reasons = [
        "",
        "etcdserver: permission denied",
        "etcdserver: invalid auth token",
    ];
    let mut response = PbWatchResponse {
        header: header(input)?,
        watch_id,
        created: kind % 8 == 1,
        canceled: kind % 8 == 2 || kind % 32 == 9,
        fragment: kind & 64 != 0,
        ..PbWatchResponse::default()
    };
    if response.canceled {
        response.compact_revision = number(input)?;
        response.cancel_reason = match input.arbitrary()? {
            true => (*input.choose(&reasons)?).to_owned(),
            false => String::from_utf8_lossy(&bytes(input, 60)?).into_owned(),
        };
    }
    for _ in 0..input.int_in_range(0..=5)? {
        // Ids are given in the order of the watches, from 1, unless some were cancelled.
        let owner = match input.ratio(1, 16)? {
            true => number(input)?,
            false => watch_id - 1,
        };
        response.events.push(event(input, owner)?);
    }
    Ok(response)
}

fn event(input: &mut Unstructured<'_>, owner: i64) -> Result<PbEvent> {
    let kind: u8 = input.arbitrary()?;
    let key = match kind % 64 {
        0 => bytes(input, 8)?,
        _ => [format!("/w{owner}/").into_bytes(), bytes(input, 2)?].concat(),
    };
    let size = if kind & 64 == 0 { 4 } else { VALUE };
    let entry = PbKeyValue {
        key,
        value: vec![b'x'; size],
        create_revision: number(input)?,
        mod_revision: number(input)?,
        ..PbKeyValue::default()
    };
    Ok(PbEvent {
        r#type: if kind % 32 == 3 {
            number(input)? as i32
        } else {
            i32::from(kind & 128 != 0)
        },
        kv: (kind % 61 != 7).then_some(entry),
        prev_kv: None,
    })
}
