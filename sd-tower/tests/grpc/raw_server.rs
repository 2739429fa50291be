//! Servers that speak HTTP/2 frame by frame, so that they can end it in any way.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

/// A server that does with each request what a script says. The body of a request is its id, or a
/// gRPC message with nothing but that.
pub(crate) struct RawServer {
    pub(crate) address: SocketAddr,
    executed: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

/// A request whose last frame has come.
pub(crate) struct RawRequest {
    /// The number of the stream.
    pub(crate) stream: u32,
    pub(crate) id: String,
}

/// What to do next.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Takes note of the request, as one that has had an effect.
    Executes,
    /// `200 OK` without a body.
    Answers,
    /// A `grpc-status` of one digit or two, without a body.
    Fails(&'static str),
    /// Of the request's stream, with this code.
    Resets(u32),
    /// `GOAWAY` with the last stream that is looked at, and a code. It is a later one if that was
    /// executed already: frames of several requests come in any order.
    GoesAway(u32, u32),
    /// Closes the connection.
    Closes,
    /// Closes the connection with a reset, so that what is under way is lost.
    Breaks,
}

const PREFACE: usize = 24;
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200`, by its index in HPACK's static table.
const OK: u8 = 0x88;

pub(crate) type Script = dyn Fn(&RawRequest) -> Vec<Act> + Send + Sync;

impl RawServer {
    /// Starts one that takes so many streams at once.
    pub(crate) async fn start(
        streams: u32,
        script: impl Fn(&RawRequest) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let executed = Arc::new(Mutex::new(Vec::new()));
        let (script, noted): (Arc<Script>, _) = (Arc::new(script), executed.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, executed) = (script.clone(), noted.clone());
                connections.spawn(async move {
                    let mut connection = RawConnection {
                        stream,
                        executed,
                        last_executed: 0,
                    };
                    // However the client ends it.
                    let _ = connection.serve(streams, &*script).await;
                });
            }
        });
        Self {
            address,
            executed,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// The ids of requests that have had an effect, once for each time.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.executed.lock().unwrap().clone()
    }
}

struct RawConnection {
    stream: TcpStream,
    executed: Arc<Mutex<Vec<String>>>,
    /// The number of a stream.
    last_executed: u32,
}

impl RawConnection {
    async fn serve(&mut self, streams: u32, script: &Script) -> io::Result<()> {
        self.stream.read_exact(&mut [0; PREFACE]).await?;
        // SETTINGS_MAX_CONCURRENT_STREAMS.
        let settings = [&[0, 3][..], &streams.to_be_bytes()].concat();
        self.write(SETTINGS, 0, 0, &settings).await?;
        let mut bodies = HashMap::<u32, Vec<u8>>::new();
        loop {
            let mut header = [0; HEADER];
            self.stream.read_exact(&mut header).await?;
            let [_, _, _, kind, flags, number @ ..] = header;
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let number = u32::from_be_bytes(number);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await?;
            match kind {
                SETTINGS if flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await?,
                PING if flags & ACK == 0 => self.write(PING, ACK, 0, &payload).await?,
                DATA | HEADERS => {
                    let body = bodies.entry(number).or_default();
                    if kind == DATA {
                        body.extend(payload);
                    }
                    if flags & END_STREAM == 0 {
                        continue;
                    }
                    let id = match &std::mem::take(body)[..] {
                        // Five bytes before the message, two before its field.
                        [0, 0, 0, 0, _, 10, _, id @ ..] => String::from_utf8_lossy(id).into(),
                        id => String::from_utf8_lossy(id).into(),
                    };
                    let request = RawRequest { stream: number, id };
                    for act in script(&request) {
                        self.act(act, &request).await?;
                    }
                }
                _ => {}
            }
        }
    }

    /// Fails after the connection was closed.
    async fn act(&mut self, act: Act, request: &RawRequest) -> io::Result<()> {
        match act {
            Act::Executes => {
                self.last_executed = self.last_executed.max(request.stream);
                self.executed.lock().unwrap().push(request.id.clone());
                Ok(())
            }
            Act::Answers => {
                let flags = END_STREAM | END_HEADERS;
                self.write(HEADERS, flags, request.stream, &[OK]).await
            }
            Act::Fails(code) => {
                let mut fields = vec![OK];
                for text in ["grpc-status", code] {
                    fields.extend([text.len() as u8]);
                    fields.extend(text.as_bytes());
                }
                // A literal that is not indexed.
                fields.insert(1, 0);
                let flags = END_STREAM | END_HEADERS;
                self.write(HEADERS, flags, request.stream, &fields).await
            }
            Act::Resets(code) => {
                let payload = code.to_be_bytes();
                self.write(RST_STREAM, 0, request.stream, &payload).await
            }
            Act::GoesAway(last, code) => {
                let last = last.max(self.last_executed);
                let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
                self.write(GOAWAY, 0, 0, &payload).await
            }
            Act::Closes => {
                self.stream.shutdown().await?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Act::Breaks => {
                self.stream.set_zero_linger()?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).await
    }
}
