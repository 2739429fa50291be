//! Bodies that are polled by hand.

use super::*;
use http::HeaderMap;
use http_body_util::Full;
use std::{
    collections::VecDeque,
    error::Error as _,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
};

/// What a body does when it is polled.
enum Step {
    Data(&'static str),
    Trailers,
    Waits,
    Fails,
    Panics,
    /// Does this, then the next step.
    Does(Box<dyn FnOnce() + Send>),
}

use Step::{Data, Does, Fails, Panics, Trailers, Waits};

/// A body that does these steps and then ends. It must not be polled after its end. It is polled
/// once more when its first frame has come.
struct Steps {
    steps: VecDeque<Step>,
    has_ended: bool,
}

impl Body for Steps {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        assert!(!self.has_ended, "polled after its end");
        let step = loop {
            match self.steps.pop_front() {
                Some(Does(it)) => it(),
                step => break step,
            }
        };
        self.has_ended = matches!(step, None | Some(Fails | Trailers));
        match step {
            None => Poll::Ready(None),
            Some(Data(data)) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
            Some(Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            Some(Waits) => Poll::Pending,
            Some(Fails) => Poll::Ready(Some(Err("out of ink".into()))),
            Some(Panics | Does(_)) => panic!("no paper"),
        }
    }
}

fn recorded(steps: impl IntoIterator<Item = Step>, limit: usize) -> RecordedBody {
    let steps = Steps {
        steps: steps.into_iter().collect(),
        has_ended: false,
    };
    RecordedBody::new(steps, limit)
}

/// Polls once.
fn poll(body: &mut RequestBody, waker: &Waker) -> String {
    let polled = Pin::new(body).poll_frame(&mut Context::from_waker(waker));
    match polled {
        Poll::Pending => "waits".into(),
        Poll::Ready(None) => "end".into(),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => String::from_utf8(data.into()).unwrap(),
            Err(_) => "trailers".into(),
        },
        Poll::Ready(Some(Err(error))) => {
            let error = error.downcast_ref::<h2::Error>().unwrap();
            assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
            "cancelled".into()
        }
    }
}

fn next(body: &mut RequestBody) -> String {
    poll(body, Waker::noop())
}

/// Polls so many times.
fn read<const N: usize>(body: &mut RequestBody) -> [String; N] {
    [(); N].map(|()| next(body))
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn a_further_attempt_sends_the_request_from_its_start() {
    let recorded = recorded([Data("a"), Data("b"), Data("c"), Trailers], 100);
    let (mut first, _sent) = recorded.replay(1);
    assert_eq!(read(&mut first), ["a", "b"]);
    let (mut second, _sent) = recorded.replay(2);
    assert_eq!(read(&mut second), ["a", "b", "c", "trailers", "end"]);
    let (mut third, _sent) = recorded.replay(3);
    assert_eq!(read(&mut third), ["a", "b", "c", "trailers", "end", "end"]);
    assert!(recorded.can_replay());
}

#[test]
fn what_has_ended_is_not_read_again() {
    let recorded = recorded([Data("a")], 100);
    for attempt in 1..4 {
        let (mut body, _sent) = recorded.replay(attempt);
        assert_eq!(read(&mut body), ["a", "end", "end"]);
    }
}

#[test]
fn more_than_the_limit_is_sent_once() {
    let recorded = recorded([Data("abc"), Data("d"), Data("e")], 3);
    let (mut body, _sent) = recorded.replay(1);
    assert_eq!(next(&mut body), "abc");
    assert!(recorded.can_replay(), "as many bytes as the limit");
    assert_eq!(next(&mut body), "d");
    assert!(!recorded.can_replay());
    assert_eq!(read(&mut body), ["e", "end"]);
    assert!(!recorded.can_replay());
}

#[test]
fn an_attempt_that_is_over_is_woken_and_reset() {
    let recorded = recorded([Data("a"), Waits, Waits, Waits, Data("b")], 100);
    let wakes = [(); 2].map(|()| Arc::new(Wakes::default()));
    let wakers = wakes.clone().map(Waker::from);

    let (mut first, first_sent) = recorded.replay(1);
    assert_eq!(poll(&mut first, &wakers[0]), "a");
    assert_eq!(poll(&mut first, &wakers[0]), "waits");
    let (mut second, second_sent) = recorded.replay(2);
    assert_eq!(wakes[0].count(), 1, "another attempt began");
    assert_eq!(next(&mut first), "cancelled");

    assert_eq!(poll(&mut second, &wakers[1]), "a");
    assert_eq!(poll(&mut second, &wakers[1]), "waits");
    drop(first_sent);
    assert_eq!(wakes[1].count(), 0, "that was of the first");
    assert_eq!(poll(&mut second, &wakers[1]), "b");
    drop(second_sent);
    assert_eq!(wakes[1].count(), 1, "nobody wants an answer");
    assert_eq!(next(&mut second), "cancelled");
}

#[test]
fn a_frame_that_is_read_while_another_attempt_begins_is_not_lost() {
    for limit in [0, 100] {
        let shared = Arc::new(OnceLock::<RecordedBody>::new());
        let second = Arc::new(Mutex::new(None));
        let wakes = Arc::new(Wakes::default());
        let begin_second = {
            let (shared, second, wakes) = (shared.clone(), second.clone(), wakes.clone());
            move || {
                let (mut body, sent) = shared.get().unwrap().replay(2);
                assert_eq!(poll(&mut body, &Waker::from(wakes)), "waits");
                *second.lock().unwrap() = Some((body, sent));
            }
        };
        let steps = [Does(Box::new(begin_second)), Data("a"), Data("b")];
        shared.set(recorded(steps, limit)).ok().unwrap();
        let (mut first, _sent) = shared.get().unwrap().replay(1);
        assert_eq!(next(&mut first), "cancelled");
        assert_eq!(wakes.count(), 1);
        let (mut second, _sent) = second.lock().unwrap().take().unwrap();
        assert_eq!(read(&mut second), ["a", "b", "end"], "limit {limit}");
    }
}

#[test]
fn a_body_may_end_the_call_while_it_is_polled() {
    let sent = Arc::new(Mutex::new(None));
    let drops = {
        let sent = sent.clone();
        move || drop(sent.lock().unwrap().take())
    };
    let recorded = recorded([Does(Box::new(drops)), Data("a")], 100);
    let (mut body, sent_request) = recorded.replay(1);
    *sent.lock().unwrap() = Some(sent_request);
    assert_eq!(next(&mut body), "cancelled");
}

#[test]
fn a_body_that_fails_or_panics_fails_its_call() {
    for (step, why) in [(Fails, "out of ink"), (Panics, "it panicked: no paper")] {
        let recorded = recorded([Data("a"), Data("b"), step], 100);
        let (mut body, sent) = recorded.replay(1);
        assert_eq!(read(&mut body), ["a", "b", "cancelled", "cancelled"]);
        assert!(!recorded.can_replay());
        assert!(!body.is_end_stream());
        let failure = sent.take_failure().unwrap();
        assert_eq!(failure.to_string(), "the body of the request has failed");
        assert_eq!(failure.source().unwrap().to_string(), why);
        assert!(sent.take_failure().is_none());
    }
}

#[test]
fn the_size_and_the_end_are_those_of_what_is_still_to_be_sent() {
    let recorded = RecordedBody::new(Full::new(Bytes::from("abc")), 100);
    for attempt in 1..4 {
        let (mut body, _sent) = recorded.replay(attempt);
        assert_eq!(body.size_hint().exact(), Some(3));
        assert!(!body.is_end_stream());
        assert_eq!(next(&mut body), "abc");
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(body.is_end_stream());
    }
    let empty = RecordedBody::new(Full::new(Bytes::new()), 100);
    let (mut body, _sent) = empty.replay(1);
    assert!(body.is_end_stream());
    assert_eq!(next(&mut body), "end");

    let stream = self::recorded([Data("abc"), Waits, Waits, Data("d")], 100);
    let (mut body, _sent) = stream.replay(1);
    assert_eq!(read(&mut body), ["abc", "waits"]);
    let (body, _sent) = stream.replay(2);
    assert_eq!(
        (body.size_hint().lower(), body.size_hint().upper()),
        (3, None)
    );
}

#[test]
fn the_end_of_a_request_of_one_frame_is_known_with_it() {
    for attempt in 1..3 {
        let one = recorded([Data("a")], 0);
        let (mut body, _sent) = one.replay(attempt);
        assert_eq!(next(&mut body), "a");
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
    }
    for (second, expected) in [
        (Data("b"), "b"),
        (Trailers, "trailers"),
        (Fails, "cancelled"),
    ] {
        let two = recorded([Data("a"), second], 1);
        let (mut body, _sent) = two.replay(1);
        assert_eq!(next(&mut body), "a");
        assert!(two.can_replay(), "what was not sent exceeds no limit");
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().lower(), u64::from(expected == "b"));
        assert_eq!(next(&mut body), expected);
    }
    let slow = recorded([Data("a"), Waits], 100);
    let (mut body, _sent) = slow.replay(1);
    assert_eq!(next(&mut body), "a");
    assert!(!body.is_end_stream());
    assert_eq!(next(&mut body), "end");
}

const LIMIT: Duration = Duration::from_secs(10);

/// How long after `begun` the request counts as not answered.
async fn late_after(recorded: &RecordedBody, begun: Instant) -> Duration {
    let late = tokio::time::timeout(100 * LIMIT, recorded.complete_for(LIMIT, false));
    late.await.unwrap();
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_late_some_time_after_the_end_of_the_request() {
    let begun = Instant::now();
    let empty = RecordedBody::new(Full::new(Bytes::new()), 0);
    assert_eq!(late_after(&empty, begun).await, LIMIT);
    let begun = Instant::now();
    let further_attempt = late_after(&empty, begun).await;
    assert_eq!(further_attempt, LIMIT, "a further attempt has as long");

    // The last frame comes at once; that it is the last, or trailers, after 25 s.
    for last in [Vec::new(), vec![Trailers]] {
        let begun = Instant::now();
        let steps = [Data("a"), Waits, Waits].into_iter().chain(last);
        let stream = recorded(steps, 0);
        let (mut body, _sent) = stream.replay(1);
        assert_eq!(read(&mut body), ["a", "waits"]);
        let ends = async {
            tokio::time::sleep(Duration::from_secs(25)).await;
            next(&mut body)
        };
        let (late, _) = tokio::join!(late_after(&stream, begun), ends);
        assert_eq!(late, Duration::from_secs(25) + LIMIT);
    }

    let endless = recorded([Waits], 0);
    let (mut body, _sent) = endless.replay(1);
    assert_eq!(next(&mut body), "waits");
    let late = tokio::time::timeout(100 * LIMIT, endless.complete_for(LIMIT, true));
    late.await.unwrap_err();
}
