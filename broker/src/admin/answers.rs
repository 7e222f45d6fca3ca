//! Answers that may be long: written by a thread of their own, sent piece by piece as the client reads, and only so
//! many at a time.
//!
//! Comes in: what writes a document. Goes out: the answer, whole if it is short; 503 while too many are under way. What
//! has been written and not yet sent counts as memory. Does not know what is written.

use super::error::{Failure, Result};
use super::zip::{self, Zip};
use crate::limits::Memory;
use crate::limits::held::{Held, Holding};
use crate::pieces::{Outlet, Pieces};
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// An answer that is longer takes one of the few places for long ones, bytes.
const SHORT: usize = 256 << 10;
/// Pieces that wait for the client.
const AHEAD: usize = 2;
/// The longest time that an answer waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long answers at a time.
const LONG: usize = 2;

/// The places for answers of one kind.
#[derive(Clone)]
pub struct Answers {
    begun: Arc<Semaphore>,
    long: Arc<Semaphore>,
    memory: Arc<Memory>,
    patience: Duration,
}

impl Answers {
    /// Places for so many answers at a time, of which two may be long.
    pub fn new(memory: Arc<Memory>, at_a_time: usize) -> Self {
        Self {
            begun: Arc::new(Semaphore::new(at_a_time)),
            long: Arc::new(Semaphore::new(LONG)),
            memory,
            patience: PATIENCE,
        }
    }

    /// The answer with a document.
    ///
    /// # Errors
    /// Those of `write`, which must come before anything is written; 503 if there is no place in time; 500 if it was
    /// broken off.
    pub async fn of(
        &self,
        (content_type, zip): (&'static str, Zip),
        write: impl FnOnce(&mut Pieces) -> Result<()> + Send + 'static,
    ) -> Result<Response> {
        let turn = timeout(self.patience, self.begun.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(std::result::Result::ok).ok_or(Failure::Busy)?;
        let (tell, told) = oneshot::channel();
        let held = zip.is_on().then(|| self.memory.hold(Holding::Replies, zip::MEMORY));
        let way = Arc::new(Mutex::new(Way {
            answers: self.clone(),
            zip,
            runtime: Handle::current(),
            tell: Some(tell),
            early: Vec::new(),
            bytes: 0,
            open: None,
        }));
        tokio::task::spawn_blocking(move || {
            let (_turn, _held) = (turn, held);
            let mut pieces = Pieces::to(Box::new(Out(way.clone())));
            let written = write(&mut pieces);
            way.lock().end(written.map(|()| pieces.into_rest()));
            leveret_alloc::give_back();
        });
        let broken = |_| Failure::Internal("the request was broken off".into());
        let (begin, is_zipped) = told.await.map_err(broken)??;
        let body = match begin {
            Begin::Whole(whole) => Body::from(Bytes::from_owner(whole)),
            Begin::Part(pieces) => Body::new(pieces),
        };
        let mut answer = ([(CONTENT_TYPE, content_type)], body).into_response();
        if is_zipped {
            let coding = HeaderValue::from_static("gzip");
            answer.headers_mut().insert(CONTENT_ENCODING, coding);
        }
        Ok(answer)
    }
}

/// A piece that counts as memory until it is sent.
struct Counted {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The begin of an answer.
enum Begin {
    Whole(Counted),
    Part(Coming),
}

/// The writer's end.
struct Way {
    answers: Answers,
    runtime: Handle,
    zip: Zip,
    tell: Option<oneshot::Sender<Result<(Begin, bool)>>>,
    early: Vec<Counted>,
    bytes: usize,
    open: Option<(mpsc::Sender<Option<Bytes>>, OwnedSemaphorePermit)>,
}

struct Out(Arc<Mutex<Way>>);

impl Outlet for Out {
    fn take(&mut self, piece: Vec<u8>) -> bool {
        let mut way = self.0.lock();
        way.zip.piece(piece).is_none_or(|piece| way.take(piece))
    }
}

impl Way {
    fn count(&self, bytes: Vec<u8>) -> Counted {
        let held = self.answers.memory.hold(Holding::Replies, bytes.capacity() as u64);
        Counted { bytes, _held: held }
    }

    fn take(&mut self, piece: Vec<u8>) -> bool {
        let piece = self.count(piece);
        if let Some((reader, _)) = &self.open {
            return reader.blocking_send(Some(Bytes::from_owner(piece))).is_ok();
        }
        self.bytes += piece.bytes.len();
        self.early.push(piece);
        self.bytes < SHORT || self.begin()
    }

    /// Begins to send, once there is a place for a long answer.
    fn begin(&mut self) -> bool {
        let Some(tell) = self.tell.take() else { return false };
        let (patience, place) = (self.answers.patience, self.answers.long.clone().acquire_owned());
        let Ok(Ok(place)) = self.runtime.block_on(async { timeout(patience, place).await }) else {
            let _ = tell.send(Err(Failure::Busy));
            return false;
        };
        let (reader, rest) = mpsc::channel(AHEAD);
        let early = std::mem::take(&mut self.early).into_iter();
        let early = early.map(Bytes::from_owner).collect::<Vec<_>>().into_iter();
        self.open = Some((reader, place));
        let begin = Begin::Part(Coming {
            early,
            rest,
            ended: false,
        });
        tell.send(Ok((begin, self.zip.is_on()))).is_ok()
    }

    fn end(&mut self, written: Result<Vec<u8>>) {
        let is_all = self.bytes == 0 && self.open.is_none();
        let written = written.map(|rest| self.zip.end(rest, is_all));
        // The client may have gone: then nobody is told.
        match (self.open.take(), self.tell.take(), written) {
            (Some((reader, _place)), _, Ok(rest)) => {
                let rest = Bytes::from_owner(self.count(rest));
                let _ = reader
                    .blocking_send(Some(rest))
                    .and_then(|()| reader.blocking_send(None));
            }
            (None, Some(tell), Ok(rest)) => {
                let early = std::mem::take(&mut self.early);
                let mut whole = Vec::with_capacity(self.bytes + rest.len());
                early.iter().for_each(|piece| whole.extend_from_slice(&piece.bytes));
                whole.extend_from_slice(&rest);
                let _ = tell.send(Ok((Begin::Whole(self.count(whole)), self.zip.is_on())));
            }
            (None, Some(tell), Err(failure)) => drop(tell.send(Err(failure))),
            _ => {}
        }
    }
}

/// The body of a long answer.
struct Coming {
    early: std::vec::IntoIter<Bytes>,
    rest: mpsc::Receiver<Option<Bytes>>,
    ended: bool,
}

impl hyper::body::Body for Coming {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(piece) = self.early.next() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match std::task::ready!(self.rest.poll_recv(context)) {
            Some(Some(piece)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            Some(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            // Its writer has gone. The client must not take the part for the whole.
            None => Poll::Ready(Some(Err(io::Error::other("the answer was broken off")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const MIB: usize = 1 << 20;

    fn answers(memory: &Arc<Memory>) -> Answers {
        let patience = Duration::from_millis(200);
        Answers {
            patience,
            ..Answers::new(memory.clone(), 3)
        }
    }

    async fn of(answers: &Answers, bytes: usize) -> Result<Response> {
        let write = move |out: &mut Pieces| {
            for _ in 0..bytes / 64 {
                out.put(&[b'x'; 64]);
                out.pause();
                if out.is_closed() {
                    break;
                }
            }
            Ok(())
        };
        answers.of(("text/plain", Zip::new(false)), write).await
    }

    #[tokio::test]
    async fn a_long_answer_is_in_memory_by_pieces() {
        let memory = Arc::new(Memory::new(u64::MAX));
        let answers = answers(&memory);
        let short = of(&answers, 1000 * 64).await.expect("an answer");
        assert_eq!(
            short.into_body().collect().await.expect("a body").to_bytes().len(),
            64_000
        );
        let long = of(&answers, 16 * MIB).await.expect("an answer");
        let mut body = long.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.expect("a piece").into_data().expect("data").len();
            assert!(
                memory.held(Holding::Replies) <= MIB as u64,
                "{}",
                memory.held(Holding::Replies)
            );
        }
        assert_eq!(bytes, 16 * MIB);
        drop(body);
        assert_eq!(memory.held(Holding::Replies), 0);
    }

    #[tokio::test]
    async fn two_long_answers_at_a_time() {
        let memory = Arc::new(Memory::new(u64::MAX));
        let answers = answers(&memory);
        let unread = (
            of(&answers, 2 * MIB).await.expect("one"),
            of(&answers, 2 * MIB).await.expect("two"),
        );
        assert!(of(&answers, 100).await.is_ok(), "a short one finds its way between");
        let third = of(&answers, 2 * MIB).await.map(drop);
        assert!(matches!(third, Err(Failure::Busy)), "{third:?}");
        drop(unread);
        assert!(of(&answers, 2 * MIB).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_broken_off_is_not_taken_for_whole() {
        let memory = Arc::new(Memory::new(u64::MAX));
        let places = answers(&memory);
        let broken = places.of(("text/plain", Zip::new(false)), |out| {
            out.put(&[0; 2 * SHORT]);
            out.pause();
            Err(Failure::NotFound)
        });
        let body = broken.await.expect("it begins").into_body();
        assert!(body.collect().await.is_err());
        let refused = answers(&memory)
            .of(("text/plain", Zip::new(false)), |_| Err(Failure::NotFound))
            .await;
        assert!(matches!(refused, Err(Failure::NotFound)));
    }
}
