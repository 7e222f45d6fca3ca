//! Patience with a client of HTTP: how long its socket may keep the broker waiting.
//!
//! Comes in: a stream, and what its connection is about at the moment. Goes out: the same stream, which fails once a
//! request takes too long to come, an idle connection is kept for too long, or an answer isn't read. Times of bodies
//! are kept where they are read. Does not know about HTTP.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Times that a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From a request's first byte, or from the connection's begin, to the end of its head.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For not reading an answer, or not sending a body, in all.
    pub grace: Duration,
    /// Bytes for each further second of that: a slow client is served, one that stands still is not.
    pub slowest: u64,
}

impl Times {
    /// The usual ones. (RabbitMQ has settings for the first two, `management.tcp.request_timeout` and `idle_timeout`.)
    pub const USUAL: Self = Self {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        grace: Duration::from_secs(10),
        slowest: 64 << 10,
    };

    /// The time that `bytes` may take in all.
    pub fn of(&self, bytes: u64) -> Duration {
        self.grace + Duration::from_millis(bytes * 1000 / self.slowest)
    }
}

/// The business that a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The head of a request is coming.
    Head,
    /// A request is worked on or answered.
    Busy,
    /// It waits for the next request.
    Idle,
}

/// The stage of a connection, shared with those who look for one that can be spared.
#[derive(Debug, Default)]
pub struct Stages(AtomicU8);

impl Stages {
    /// The stage now.
    pub fn now(&self) -> Stage {
        match self.0.load(Ordering::Relaxed) {
            0 => Stage::Head,
            1 => Stage::Busy,
            _ => Stage::Idle,
        }
    }

    /// The next stage.
    pub fn set(&self, stage: Stage) {
        let number = match stage {
            Stage::Head => 0,
            Stage::Busy => 1,
            Stage::Idle => 2,
        };
        self.0.store(number, Ordering::Relaxed);
    }
}

/// A stream with limited patience.
pub struct Patient<S> {
    stream: S,
    times: Times,
    stages: Arc<Stages>,
    /// The stage as it was found last, and since when.
    seen: (Stage, Instant),
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
    /// Since when the client hasn't read, while it doesn't.
    stuck: Option<Instant>,
    /// The sum of such times.
    unread: Duration,
    written: u64,
}

impl<S> Patient<S> {
    /// A stream whose connection passes through these stages.
    pub fn new(stream: S, times: Times, stages: Arc<Stages>) -> Self {
        Self {
            stream,
            times,
            seen: (stages.now(), Instant::now()),
            stages,
            reading: None,
            writing: None,
            stuck: None,
            unread: Duration::ZERO,
            written: 0,
        }
    }

    fn stage(&mut self) -> (Stage, Instant) {
        let now = self.stages.now();
        if now != self.seen.0 {
            self.seen = (now, Instant::now());
        }
        self.seen
    }

    /// The client has sent something.
    fn received(&mut self) {
        if self.stage().0 == Stage::Idle {
            self.stages.set(Stage::Head);
            self.stage();
        }
    }

    /// The client sends nothing. Ready if that has lasted too long.
    fn waits(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        let until = match self.stage() {
            (Stage::Busy, _) => {
                self.reading = None;
                return Poll::Pending;
            }
            (Stage::Head, since) => since + self.times.head,
            (Stage::Idle, since) => since + self.times.idle,
        };
        expired(&mut self.reading, until, context).map(|()| Error::new(ErrorKind::TimedOut, "no request has come"))
    }

    /// An attempt to write has ended. An error if the client hasn't read for too long.
    fn wrote<T>(&mut self, bytes: u64, polled: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if polled.is_ready() {
            self.written += bytes;
            if let Some(since) = self.stuck.take() {
                self.unread += since.elapsed();
            }
            return polled;
        }
        let since = *self.stuck.get_or_insert_with(Instant::now);
        let until = since + self.times.of(self.written).saturating_sub(self.unread);
        let late = || Err(Error::new(ErrorKind::TimedOut, "the answer is not read"));
        expired(&mut self.writing, until, context).map(|()| late())
    }
}

fn expired(timer: &mut Option<Pin<Box<Sleep>>>, until: Instant, context: &mut Context<'_>) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
    if timer.deadline() != until {
        timer.as_mut().reset(until);
    }
    timer.as_mut().poll(context)
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Pending => this.waits(context).map(Err),
            ready => {
                if buffer.filled().len() > before {
                    this.received();
                }
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(count(&polled), polled, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.wrote(count(&polled), polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        this.wrote(0, polled, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_shutdown(context);
        this.wrote(0, polled, context)
    }
}

fn count(polled: &Poll<Result<usize>>) -> u64 {
    match polled {
        Poll::Ready(Ok(bytes)) => *bytes as u64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// A hundredth of the usual ones.
    const SHORT: Times = Times {
        head: Duration::from_millis(100),
        idle: Duration::from_millis(600),
        grace: Duration::from_millis(100),
        slowest: 6_400_000,
    };

    /// Milliseconds until a read fails, while the client sends a byte now and then or nothing.
    async fn until_refused(stage: Stage, sends: bool) -> u128 {
        let (mut client, server) = duplex(64);
        let stages = Arc::new(Stages::default());
        stages.set(stage);
        let mut server = Patient::new(server, SHORT, stages);
        let began = Instant::now();
        let sender = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(30)).await;
                if sends && client.write_all(b"x").await.is_err() {
                    break;
                }
            }
        });
        let mut byte = [0];
        let error = loop {
            match server.read_exact(&mut byte).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        sender.abort();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        began.elapsed().as_millis()
    }

    #[tokio::test]
    async fn a_request_must_come_in_time_however_slowly_it_drips() {
        for (stage, sends, expected) in [
            (Stage::Head, true, 100..500),
            (Stage::Head, false, 100..500),
            (Stage::Idle, false, 600..1500),
            // From the first byte on.
            (Stage::Idle, true, 130..600),
        ] {
            let took = until_refused(stage, sends).await;
            assert!(expected.contains(&took), "{stage:?}, {sends}: {took} ms");
        }
    }

    #[tokio::test]
    async fn an_answer_must_be_read_at_a_pace() {
        let (client, server) = duplex(1000);
        let mut server = Patient::new(server, SHORT, Arc::default());
        let began = Instant::now();
        let error = server.write_all(&[0; 10_000]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(
            (100..500).contains(&began.elapsed().as_millis()),
            "{:?}",
            began.elapsed()
        );
        drop(client);

        // Ten thousand bytes now and then, for longer than anybody may stand still.
        let (mut client, server) = duplex(10_000);
        let mut server = Patient::new(
            server,
            Times {
                slowest: 64_000,
                ..SHORT
            },
            Arc::default(),
        );
        tokio::spawn(async move {
            let mut some = [0; 10_000];
            while client.read(&mut some).await.is_ok_and(|count| count > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        server.write_all(&[0; 1_000_000]).await.expect("slow is fast enough");
    }
}
