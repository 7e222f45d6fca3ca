//! One client: its socket, and the loop that reads, works and writes.
//!
//! Comes in: a socket. Goes out: batches of frames to `session`, what the outbox has to the socket. One task a
//! connection; it reads as much as there is, works through all whole frames, and writes everything that has gathered in
//! one call.
//! Does not know what the frames mean.

/// From the first byte to connection.open-ok.
pub mod handshake;

/// Logins.
pub mod sasl;

/// Frames to channels.
pub mod dispatch;

/// Newer tokens.
pub mod renewal;

/// Ends of channels and connections.
pub mod closing;

/// Batches of frames.
pub mod session;

/// Messages as slices of the read buffer.
pub mod cut;

/// The read buffer.
pub mod input;

/// The frames that are being written.
pub mod output;

/// Heartbeats.
pub mod heartbeat;

/// Naps of a connection that streams.
pub mod coalesce;

use crate::channel::state::Peer;
use crate::config::Offer;
use crate::error::Error;
use crate::listener::{Client, Serve};
use crate::node::Node;
use crate::turns::Kind;
use bytes::{Buf, Bytes, BytesMut};
use coalesce::Coalescing;
use handshake::Handshake;
use heartbeat::{Beat, Heartbeat};
use input::Input;
use leveret_amqp::method::{ConnectionBlocked, ConnectionUnblocked};
use leveret_amqp::{Method, ShortString, put_heartbeat, put_method_frame};
use leveret_store::Lsn;
use output::Output;
use parking_lot::RwLock;
use session::{Closing, Failure, Flow, Session};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, sleep, timeout};

/// Memory of a write buffer that an idle connection keeps.
const KEEP_BUFFER: usize = 16 * 1024;
/// Time that connection.close-ok may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for which a connection may go on before others have their turn: too short to be noticed, with a batch at most
/// on top.
const TIME_SLICE: Duration = Duration::from_micros(200);
/// Time until the next look whether there is room for a body.
const ROOM_AGAIN: Duration = Duration::from_secs(1);
/// Time for which a client may take nothing of what it was sent while all outboxes have more than their share.
const STUCK: Duration = Duration::from_secs(30);
/// The shortest pause of a publisher: timers have no finer grain.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// AMQP 0-9-1 with one client after another. Each is offered the limits of that moment.
#[derive(Clone)]
pub struct Amqp {
    /// The broker.
    pub node: Arc<Node>,
    /// Terms for the next client.
    pub offer: Arc<RwLock<Offer>>,
}

impl Serve for Amqp {
    const KIND: Kind = Kind::Amqp;

    fn serve<S>(self, stream: S, client: Client) -> impl Future<Output = ()> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        // The handshake is not part of the task: thousands of idle connections would keep the room for it.
        let opening = Box::pin(self.open(stream, client));
        async move {
            let mut opened = opening.await;
            // Where it is: to move it would take its room twice.
            if let Some(connection) = &mut opened {
                connection.serve().await;
            }
        }
    }
}

impl Amqp {
    /// The connection of a client that has opened one.
    async fn open<S>(self, stream: S, client: Client) -> Option<Connection<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let peer = client.peer;
        let offer = self.offer.read().clone();
        let mut handshake = Handshake::new(stream, client, self.node.clone(), offer);
        match handshake.run().await {
            Ok(Some(opened)) => {
                self.node.totals.connections.opened.fetch_add(1, Ordering::Relaxed);
                let (stream, read) = handshake.into_parts();
                return Some(Connection::new(stream, read, opened));
            }
            Ok(None) => {}
            Err(error) => tracing::info!(%peer, %error, "the connection was not opened"),
        }
        None
    }
}

/// An open connection with its socket.
struct Connection<S> {
    stream: S,
    session: Session,
    input: Input,
    /// Whole frames that wait, and the position of the log that they wait for.
    rest: Bytes,
    awaits: Option<Lsn>,
    output: Output,
    tick: Interval,
    heartbeat: Heartbeat,
    told_blocked: bool,
    tells_blocked: bool,
    deadline: Option<Instant>,
    /// The reason to close it; done once all messages published are confirmed.
    close: Option<String>,
    /// The begin of the present time slice on a thread of the runtime.
    slice: Option<Instant>,
    coalescing: Coalescing,
    /// The end of the time for which it is not read because consumers are behind.
    pause: Option<Pin<Box<Sleep>>>,
}

/// An event that wakes the connection.
enum Event {
    Read(usize),
    Wrote(usize),
    /// So many queues have waited for room.
    Outbox(usize),
    /// Frames that were put off may be carried out now.
    Again,
    Tick,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S, read: BytesMut, opened: handshake::Opened) -> Self {
        let heartbeat = Heartbeat::new(opened.heartbeat_seconds);
        let period = heartbeat.period();
        let first = opened.peer.actor.left().map_or(period, |left| left.min(period));
        let mut tick = tokio::time::interval_at(Instant::now() + first, period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            stream,
            session: Session::new(opened.peer, opened.channel_max),
            input: Input::new(read),
            rest: Bytes::new(),
            awaits: None,
            output: Output::default(),
            tick,
            heartbeat,
            told_blocked: false,
            tells_blocked: opened.tells_blocked,
            deadline: None,
            close: None,
            slice: None,
            coalescing: Coalescing::new(std::time::Instant::now()),
            pause: None,
        }
    }

    /// Serves the client to the end of the connection.
    async fn serve(&mut self) {
        let ended = self.run().await;
        self.session.end();
        let Peer { info, node, vhost, .. } = &self.session.peer;
        node.connections.closed(info.id);
        let octets = &info.octets;
        for (of_all, own) in [
            (&vhost.gone.received, &octets.received),
            (&vhost.gone.sent, &octets.sent),
        ] {
            of_all.fetch_add(own.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        node.totals.connections.closed.fetch_add(1, Ordering::Relaxed);
        match ended {
            Ok(()) => tracing::debug!(connection = %info.name(), "closed"),
            Err(error) => tracing::info!(connection = %info.name(), %error, "lost"),
        }
    }

    async fn run(&mut self) -> io::Result<()> {
        self.work();
        loop {
            if self.session.closing == Closing::Done {
                return Box::pin(self.finish()).await;
            }
            let event = poll_fn(|context| self.poll(context)).await?;
            let read = matches!(event, Event::Read(_));
            match event {
                Event::Read(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Event::Read(count) => self.has_read(count),
                Event::Wrote(count) => self.has_written(count),
                Event::Outbox(stalled) => self.session.resume(stalled),
                Event::Again => {}
                Event::Tick => self.tick()?,
            }
            self.work();
            self.pause();
            if self.session.peer.node.memory.is_crowded() {
                leveret_alloc::give_back();
            }
            if read && let Some(begun) = self.slice {
                self.coalescing.has_read(begun.into_std(), self.session.streamed);
            }
            if self.slice.is_some_and(|begun| begun.elapsed() > TIME_SLICE) {
                self.slice = None;
                tokio::task::yield_now().await;
            }
        }
    }

    /// The next thing that can be done: writing first, so that buffers don't grow, then reading.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Event>> {
        self.slice.get_or_insert_with(Instant::now);
        if self.output.is_empty()
            && let Poll::Ready(stalled) = self.session.peer.outbox.poll_take(context, &mut self.output.frames)
        {
            return Poll::Ready(Ok(Event::Outbox(stalled)));
        }
        if !self.output.is_empty()
            && let Poll::Ready(count) = self.output.poll_write(Pin::new(&mut self.stream), context)
        {
            return Poll::Ready(count.map(Event::Wrote));
        }
        let paused = self.pause.take_if(|pause| pause.as_mut().poll(context).is_ready());
        if paused.is_some() && !self.rest.is_empty() {
            return Poll::Ready(Ok(Event::Again));
        }
        if self.may_read() {
            let read = self.input.poll_read(Pin::new(&mut self.stream), context);
            if let Poll::Ready(count) = read {
                return Poll::Ready(count.map(Event::Read));
            }
        }
        let tick = self.tick.poll_tick(context).map(|_| Ok(Event::Tick));
        if tick.is_pending() {
            self.slice = None;
        }
        tick
    }

    fn may_read(&self) -> bool {
        self.close.is_none()
            && self.rest.is_empty()
            && self.awaits.is_none()
            && self.pause.is_none()
            && !self.told_blocked
            && !self.session.has_unread_answers()
    }

    /// Leaves the client alone for as long as the queues that it publishes to ask for, if that is worth a timer.
    fn pause(&mut self) {
        let pause = self.session.take_pause();
        if pause >= PAUSE_MIN {
            self.pause = Some(Box::pin(sleep(pause)));
            let Peer { info, node, .. } = &self.session.peer;
            info.pauses.note(pause);
            node.totals.pauses.note(pause);
        }
    }

    fn has_read(&mut self, count: usize) {
        self.heartbeat.has_read();
        self.session
            .peer
            .info
            .octets
            .received
            .fetch_add(count as u64, Ordering::Relaxed);
        self.session.peer.info.octets.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn has_written(&mut self, count: usize) {
        self.heartbeat.has_written();
        self.session
            .peer
            .info
            .octets
            .sent
            .fetch_add(count as u64, Ordering::Relaxed);
        self.session.peer.info.octets.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Works through the bytes read, as far as nothing stops it.
    fn work(&mut self) {
        self.close = self.session.peer.info.take_close().or(self.close.take());
        if self.session.take_renewed() {
            self.look_at_token();
        }
        self.check_alarms();
        loop {
            self.session.advance();
            self.check_log();
            if self.awaits.is_some() || self.told_blocked {
                break;
            }
            if self.rest.is_empty() {
                self.rest = self.input.whole_frames(self.session.peer.frame_max);
            }
            if self.rest.is_empty() {
                break;
            }
            match self.session.feed(&self.rest) {
                Flow::Done => self.rest = Bytes::new(),
                Flow::Waits(at, lsn) => {
                    self.rest.advance(at);
                    self.awaits = Some(lsn);
                }
                Flow::Stopped(at) => {
                    self.rest.advance(at);
                    self.stop();
                }
                Flow::PutOff(at) => {
                    self.rest.advance(at);
                    if self.session.waits_for_room() && self.pause.is_none() {
                        self.pause = Some(Box::pin(sleep(ROOM_AGAIN)));
                    }
                    break;
                }
            }
        }
        if self.session.closing == Closing::No
            && !self.session.waits_for_log()
            && let Some(reason) = self.close.take()
        {
            self.session.fail(Failure::of_connection(Error::Forced(reason.into())));
            self.session.flush();
        }
        if self.session.closing == Closing::Sent && self.deadline.is_none() {
            self.deadline = Some(Instant::now() + CLOSE_TIMEOUT);
            self.tick.reset_after(CLOSE_TIMEOUT);
        }
        self.session.wake_others();
    }

    /// Waits for the log where replies, confirms or the size of its backlog ask for it.
    fn check_log(&mut self) {
        let node = &self.session.peer.node;
        let behind = self.session.log_is_behind();
        if self.awaits.is_none() && behind {
            self.awaits = Some(node.log.durable());
        }
        if self.awaits.is_none() && !self.session.waits_for_log() {
            return;
        }
        node.durability.register(&self.session.peer.outbox);
        // It may have become durable before the registration.
        self.session.advance();
        let durable = self.session.peer.node.log.durable();
        if self.awaits.is_some_and(|lsn| lsn <= durable) && !self.session.log_is_behind() {
            self.awaits = None;
        }
    }

    /// Has the next publish stop the connection while memory or disk space is short; lets one that is stopped go on
    /// when nothing is short any more.
    fn check_alarms(&mut self) {
        let peer = &self.session.peer;
        let alarms = &peer.node.alarms;
        let mut reason = alarms.reason();
        if self.told_blocked && reason.is_some() {
            alarms.wait(&peer.outbox);
            // It may have ended before the registration.
            reason = alarms.reason();
        }
        self.session.short = reason.is_some();
        if self.told_blocked && reason.is_none() {
            self.tell_blocked(None);
        }
    }

    /// A publish has come during an alarm: nothing is read from there on.
    fn stop(&mut self) {
        let peer = &self.session.peer;
        let alarms = &peer.node.alarms;
        alarms.wait(&peer.outbox);
        // It may have ended before the registration.
        match alarms.reason() {
            Some(reason) => self.tell_blocked(Some(reason)),
            None => self.session.short = false,
        }
    }

    /// Tells the client, if it wants to know: once, with the reason that it was stopped for.
    fn tell_blocked(&mut self, reason: Option<&'static str>) {
        self.told_blocked = reason.is_some();
        let info = &self.session.peer.info;
        info.blocked.store(self.told_blocked, Ordering::Relaxed);
        if self.tells_blocked {
            let method = match reason {
                Some(reason) => Method::ConnectionBlocked(ConnectionBlocked {
                    reason: ShortString::from_static(reason),
                }),
                None => Method::ConnectionUnblocked(ConnectionUnblocked {}),
            };
            put_method_frame(self.output.frames.encoded(), 0, &method);
        }
    }

    /// Looks after the connection: its end, heartbeats, memory to give back.
    fn tick(&mut self) -> io::Result<()> {
        let timed_out = |what| Err(io::Error::new(io::ErrorKind::TimedOut, what));
        if self.deadline.is_none() && self.look_at_token() {
            return Ok(());
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => return timed_out("connection.close-ok didn't come"),
            Some(_) => {}
            None => match self.heartbeat.tick(self.may_read()) {
                Beat::Missed => return timed_out("missed heartbeats from client"),
                Beat::Due if self.output.is_empty() => {
                    put_heartbeat(self.output.frames.encoded());
                    self.heartbeat.beats();
                }
                Beat::Due | Beat::Rest => {}
            },
        }
        let outbox = &self.session.peer.outbox;
        if self.output.is_stuck(STUCK) && outbox.is_tight() {
            return timed_out("the client takes nothing, and others need the memory");
        }
        outbox.shrink(KEEP_BUFFER, &mut self.output.frames);
        self.session.turn.rest();
        Ok(())
    }

    /// Closes a connection whose token has expired, and has the next tick come in time for one that will. True if it
    /// has.
    fn look_at_token(&mut self) -> bool {
        let Some(left) = self.session.peer.actor.left() else {
            return false;
        };
        if left.is_zero() {
            let Peer { info, actor, .. } = &self.session.peer;
            tracing::warn!(connection = %info.name(), user = actor.user, "closed: its credential has expired");
            self.close.get_or_insert_with(|| "credential expired".to_owned());
            return true;
        }
        if left < self.tick.period() {
            self.tick.reset_after(left);
        }
        false
    }

    /// Writes the rest and says goodbye.
    async fn finish(&mut self) -> io::Result<()> {
        let farewell = async {
            let Self {
                stream,
                session,
                output,
                ..
            } = self;
            loop {
                while !output.is_empty() {
                    poll_fn(|context| output.poll_write(Pin::new(&mut *stream), context)).await?;
                }
                let outbox = &session.peer.outbox;
                let taken = poll_fn(|context| Poll::Ready(outbox.poll_take(context, &mut output.frames))).await;
                if taken.is_pending() || output.is_empty() {
                    break;
                }
            }
            stream.shutdown().await?;
            // Unread bytes would make the system reset the connection, and the client would miss the reason.
            let mut unread = [0; 4096];
            while matches!(stream.read(&mut unread).await, Ok(1..)) {}
            Ok(())
        };
        timeout(CLOSE_TIMEOUT, farewell)
            .await
            .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        let peer = &self.session.peer;
        peer.node.alarms.leave(&peer.outbox);
        peer.outbox.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::deliver::Deliveries;
    use crate::channel::state::Channel;
    use crate::clients::{ChannelInfo, ConnectionInfo};
    use crate::outbox::Outbox;
    use tokio::net::TcpStream;

    fn of<F>(_: impl FnOnce(Amqp, TcpStream, Client) -> F) -> usize {
        size_of::<F>()
    }

    /// The parts of an idle connection with a channel, of which there may be thousands. Each is an allocation, of the
    /// next larger size that there is: a little more of one may be an eighth more of all.
    #[test]
    fn an_idle_connection_is_small() {
        let sizes = [
            ("task", of(Amqp::serve::<TcpStream>), 1024),
            ("channel", size_of::<Channel>(), 256),
            // With the counts of their references.
            ("connection, shared", 16 + size_of::<ConnectionInfo>(), 512),
            ("outbox", 16 + size_of::<Outbox>(), 192),
            ("channel, shared", 16 + size_of::<ChannelInfo>(), 112),
            ("deliveries", 16 + size_of::<Deliveries>(), 160),
        ];
        for (what, size, most) in sizes {
            assert!(size <= most, "{what}: {size} bytes, more than {most}: {sizes:?}");
        }
    }
}
