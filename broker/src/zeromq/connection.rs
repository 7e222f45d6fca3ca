//! One client: its socket, and the loop that reads, works and writes.
//!
//! Comes in: a connection to one of the broker's sockets. Goes out: batches of messages and commands to the peer's
//! pattern, what the outbox has to the connection. One task a peer; it reads as much as there is, works through all
//! whole messages, and writes everything that has gathered in one call. A peer that publishes is not read while the
//! log, the queue or the broker's memory can't take more: in ZMTP that is all that it can be told.
//! Does not know what the messages are for.

use super::arriving::{Arriving, May};
use super::closing::{Closing, SILENCE};
use super::handshake::{Handshake, Opened};
use super::heartbeat::{Beat, Heartbeat};
use super::pattern::Pattern;
use super::peer::{CHANNEL, Peer, Turn};
use super::socket::Socket;
use crate::config::Offer;
use crate::connection::coalesce::Coalescing;
use crate::connection::input::Input;
use crate::connection::output::Output;
use crate::error::{Error, Result};
use crate::listener::{Client, Serve};
use crate::node::Node;
use crate::turns::Kind;
use bytes::BytesMut;
use leveret_store::Lsn;
use leveret_zmtp::{Batch, Command, Decoder, Event as Received, ServerSettings};
use parking_lot::RwLock;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, sleep};

/// Memory of a write buffer that an idle connection keeps.
const KEEP_BUFFER: usize = 16 * 1024;
/// Time for which a connection may go on before others have their turn: as AMQP's.
const TIME_SLICE: Duration = Duration::from_micros(200);
/// Time for which a peer may take nothing of what it was sent while all outboxes have more than their share.
const STUCK: Duration = Duration::from_secs(30);
/// Time until the next look whether there is room for a message.
const ROOM_AGAIN: Duration = Duration::from_secs(1);
/// The shortest pause of a publisher: timers have no finer grain.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// Pause of a publisher whose messages take much work each.
const OTHERS_TURN: Duration = Duration::from_millis(2);
/// Commands after which a batch ends and others have their turn: each may be a binding.
const COMMANDS: usize = 512;
/// Bytes that the log may have to catch up with before a publisher is not read.
const LOG_BACKLOG: u64 = 32 * 1024 * 1024;

/// The clients of a socket, one after the other.
#[derive(Clone)]
pub struct Peers {
    /// The socket.
    pub socket: Arc<Socket>,
    /// Its side of every handshake.
    pub settings: Arc<ServerSettings>,
    /// The broker.
    pub node: Arc<Node>,
    /// Terms for the next client.
    pub offer: Arc<RwLock<Offer>>,
}

impl Serve for Peers {
    const KIND: Kind = Kind::Zmtp;

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

impl Peers {
    /// The connection of a peer that has logged in.
    async fn open<S>(self, stream: S, client: Client) -> Option<Connection<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (peer, patience) = (client.peer, self.offer.read().handshake_timeout);
        let mut handshake = Handshake::new(stream, client, self.node, self.socket.clone(), patience);
        match handshake.run(self.settings).await {
            Ok(Some(opened)) => {
                let (stream, read) = handshake.into_parts();
                return Some(Connection::new(stream, read, opened));
            }
            Ok(None) => {}
            Err(error) => {
                let socket = &self.socket.name.name;
                tracing::info!(%peer, socket, %error, "the connection was not opened");
            }
        }
        None
    }
}

/// An open connection with its socket.
struct Connection<S> {
    stream: S,
    peer: Peer,
    pattern: Pattern,
    turn: Turn,
    decoder: Decoder,
    input: Input,
    /// READY, which goes before everything else.
    ready: Vec<u8>,
    /// Messages and commands that have come, the number of those that are through, and the position of the log that
    /// the others wait for.
    rest: Batch,
    through: usize,
    awaits: Option<Lsn>,
    /// Room for a message that isn't whole, and the size that one may have.
    arriving: Arriving,
    most: usize,
    waits_for_room: bool,
    output: Output,
    /// Octets written since READY.
    written: u64,
    tick: Interval,
    heartbeat: Heartbeat,
    /// It isn't read because memory or disk space is short.
    blocked: bool,
    /// Messages received.
    received: u64,
    /// The end of a connection that is to close, once its last messages are through.
    closing: Option<Closing>,
    /// The begin of the present time slice on a thread of the runtime.
    slice: Option<Instant>,
    coalescing: Coalescing,
    /// The end of the time for which it is not read because consumers are behind.
    pause: Option<Pin<Box<Sleep>>>,
    /// The time at which the pattern has something to do.
    due: Option<(std::time::Instant, Pin<Box<Sleep>>)>,
}

/// An event that wakes the connection.
enum Event {
    Read(usize),
    Wrote(usize),
    /// So many queues have waited for room.
    Outbox(usize),
    /// Messages that were put off may be gone through now.
    Again,
    /// The pattern has something to do.
    Due,
    Tick,
    /// It is to close, and has nothing left to do.
    Through,
}

/// The reason why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Wire(#[from] leveret_zmtp::Error),
    #[error("{0}")]
    Refused(#[from] Error),
    #[error("{0}")]
    Silent(&'static str),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S, read: BytesMut, opened: Opened) -> Self {
        let heartbeat = Heartbeat::new(opened.peer.socket.spec.heartbeat, std::time::Instant::now());
        let tick = ticks(&opened.peer, &heartbeat);
        Self {
            stream,
            peer: opened.peer,
            pattern: opened.pattern,
            turn: opened.turn,
            decoder: opened.decoder,
            input: Input::new(read),
            ready: opened.ready,
            rest: Batch::default(),
            through: 0,
            awaits: None,
            arriving: Arriving::default(),
            most: opened.most,
            waits_for_room: false,
            output: Output::default(),
            written: 0,
            tick,
            heartbeat,
            blocked: false,
            received: 0,
            closing: None,
            slice: None,
            coalescing: Coalescing::new(std::time::Instant::now()),
            pause: None,
            due: None,
        }
    }

    /// Serves the peer to the end of the connection.
    async fn serve(&mut self) {
        let ended = self.run().await;
        let failed = self.pattern.end(&self.peer, &mut self.turn);
        let finished = self.turn.work.finish(&self.peer.node.log);
        if let Err(error) = failed.and(finished.map_err(Error::from)) {
            tracing::warn!(connection = %self.peer.info.name(), %error, "the connection's end is not complete");
        }
        let Peer {
            info,
            node,
            vhost,
            socket,
            ..
        } = &self.peer;
        node.connections.closed(info.id);
        socket.left(info.id);
        let octets = &info.octets;
        for (of_all, own) in [
            (&vhost.gone.received, &octets.received),
            (&vhost.gone.sent, &octets.sent),
        ] {
            of_all.fetch_add(own.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        node.totals.connections.closed.fetch_add(1, Ordering::Relaxed);
        node.totals.channels.closed.fetch_add(1, Ordering::Relaxed);
        match ended {
            Ok(()) => tracing::debug!(connection = %info.name(), "closed"),
            Err(error) => tracing::info!(connection = %info.name(), socket = socket.name.name, %error, "lost"),
        }
    }

    async fn run(&mut self) -> std::result::Result<(), End> {
        let ready = std::mem::take(&mut self.ready);
        self.stream.write_all(&ready).await?;
        let mut worked = self.work();
        loop {
            worked?;
            let event = poll_fn(|context| self.poll(context)).await?;
            let read = matches!(event, Event::Read(_));
            if self.handle(event)? {
                self.stream.shutdown().await?;
                return Ok(());
            }
            worked = self.work();
            self.take_pause();
            if self.peer.node.memory.is_crowded() {
                leveret_alloc::give_back();
            }
            if read && let Some(begun) = self.slice {
                self.coalescing.has_read(begun.into_std(), self.received);
            }
            if self.slice.is_some_and(|begun| begun.elapsed() > TIME_SLICE) {
                self.slice = None;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes note of an event. True if the connection is through.
    fn handle(&mut self, event: Event) -> std::result::Result<bool, End> {
        match event {
            Event::Read(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Event::Read(count) => self.has_read(count),
            Event::Wrote(count) => self.has_written(count)?,
            Event::Outbox(stalled) => self.resume(stalled)?,
            Event::Again => {}
            Event::Due => {
                self.due = None;
                let lsn = self.pattern.tick(&self.peer, &mut self.turn)?;
                self.wait_for(lsn);
                self.finish()?;
            }
            Event::Tick => self.tick()?,
            Event::Through => return Ok(true),
        }
        Ok(false)
    }

    /// The next thing that can be done: writing first, so that buffers don't grow, then reading.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Event>> {
        self.slice.get_or_insert_with(Instant::now);
        if self.output.is_empty()
            && let Poll::Ready(stalled) = self.peer.outbox.poll_take(context, &mut self.output.frames)
        {
            return Poll::Ready(Ok(Event::Outbox(stalled)));
        }
        if !self.output.is_empty()
            && let Poll::Ready(count) = self.output.poll_write(Pin::new(&mut self.stream), context)
        {
            return Poll::Ready(count.map(Event::Wrote));
        }
        let paused = self.pause.take_if(|pause| pause.as_mut().poll(context).is_ready());
        if paused.is_some() && (!self.rest.is_empty() || self.waits_for_room) {
            return Poll::Ready(Ok(Event::Again));
        }
        let due = self.due.take_if(|(_, due)| due.as_mut().poll(context).is_ready());
        if due.is_some() {
            return Poll::Ready(Ok(Event::Due));
        }
        if self.may_read() {
            let read = self.input.poll_read(Pin::new(&mut self.stream), context);
            if let Poll::Ready(count) = read {
                return Poll::Ready(count.map(Event::Read));
            }
        }
        if self.closing.is_some_and(|closing| self.is_through(closing)) {
            return Poll::Ready(Ok(Event::Through));
        }
        let tick = self.tick.poll_tick(context).map(|_| Ok(Event::Tick));
        if tick.is_pending() {
            self.slice = None;
        }
        tick
    }

    fn may_read(&self) -> bool {
        self.rest.is_empty()
            && self.awaits.is_none()
            && self.pause.is_none()
            && !self.waits_for_room
            && !self.blocked
            && !self.pattern.holds()
            && !self.peer.outbox.is_full()
    }

    /// True if a connection that is to close has taken everything that had been sent to it, and what it took is safe.
    fn is_through(&self, closing: Closing) -> bool {
        let now = Instant::now();
        let publishes = self.peer.socket.spec.role.publishes();
        let takes = self.rest.is_empty() && self.awaits.is_none() && !self.pattern.holds();
        let silent = !publishes || (self.output.is_empty() && closing.is_silent(now));
        (takes && silent) || closing.is_over(now)
    }

    /// Leaves the peer alone for as long as the queues that it publishes to ask for, if that is worth a timer.
    fn take_pause(&mut self) {
        let pause = std::mem::take(&mut self.turn.work.pause);
        if pause >= PAUSE_MIN {
            self.pause = Some(Box::pin(sleep(pause)));
            self.peer.info.pauses.note(pause);
            self.peer.node.totals.pauses.note(pause);
        }
    }

    fn has_read(&mut self, count: usize) {
        if let Some(closing) = &mut self.closing {
            closing.has_read(Instant::now());
        }
        self.heartbeat.has_read(std::time::Instant::now());
        let octets = &self.peer.info.octets;
        octets.received.fetch_add(count as u64, Ordering::Relaxed);
        octets.reads.fetch_add(1, Ordering::Relaxed);
        let figures = &self.peer.socket.figures;
        figures.bytes_in.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn has_written(&mut self, count: usize) -> Result<()> {
        self.written += count as u64;
        let octets = &self.peer.info.octets;
        octets.sent.fetch_add(count as u64, Ordering::Relaxed);
        octets.writes.fetch_add(1, Ordering::Relaxed);
        let figures = &self.peer.socket.figures;
        figures.bytes_out.fetch_add(count as u64, Ordering::Relaxed);
        self.pattern.written(&self.peer, &mut self.turn, self.written);
        self.finish()
    }

    /// Queues that waited for room in the outbox, `most` of them at most, go on as long as there is some.
    fn resume(&mut self, most: usize) -> Result<()> {
        for _ in 0..most {
            let Some(queue) = self.peer.outbox.next_stalled() else {
                break;
            };
            queue.resume(&mut self.turn.work);
        }
        self.finish()
    }

    /// Works through what was read, as far as nothing stops it.
    fn work(&mut self) -> std::result::Result<(), End> {
        self.check_close();
        self.check_alarms();
        loop {
            self.check_log();
            if self.awaits.is_some() || self.pause.is_some() || self.blocked || self.pattern.holds() {
                break;
            }
            if self.rest.is_empty() {
                self.through = 0;
                self.rest = self.decoder.take(self.input.buffer())?;
            }
            if self.rest.is_empty() {
                self.ask_for_room()?;
                break;
            }
            if !self.feed()? {
                break;
            }
        }
        self.watch_pattern();
        self.turn.work.wakes.flush();
        Ok(())
    }

    /// Has a message that isn't whole wait for room, if it is a large one.
    fn ask_for_room(&mut self) -> std::result::Result<(), End> {
        let has = self.input.buffer().len() + self.decoder.held();
        let sizes = (has, self.decoder.wanted(), self.most);
        let may = self.arriving.ask(sizes, &self.peer.node.bodies, &self.peer.outbox);
        self.waits_for_room = may == May::Wait;
        match may {
            May::Read => {}
            // Asking again finds those that are late.
            May::Wait if self.pause.is_none() => self.pause = Some(Box::pin(sleep(ROOM_AGAIN))),
            May::Wait => {}
            May::End => {
                return Err(End::Silent(
                    "a message has not arrived in time, and others wait to send theirs",
                ));
            }
        }
        Ok(())
    }

    /// Goes through a batch. False if it is put off amid it: others have their turn, or the peer doesn't read its
    /// answers.
    fn feed(&mut self) -> Result<bool> {
        let batch = std::mem::take(&mut self.rest);
        self.pattern.expect(batch.wire_len());
        let (mut failed, mut goes_on, mut commands) = (None, true, 0);
        for event in batch.events().skip(self.through) {
            if !goes_on {
                break;
            }
            self.through += 1;
            commands += usize::from(matches!(event, Received::Command(_)));
            let done = match event {
                Received::Message(message) => {
                    self.received += 1;
                    self.pattern.message(&self.peer, message);
                    Ok(())
                }
                Received::Command(command) => self.command(command),
            };
            failed = done.err();
            goes_on = failed.is_none() && commands < COMMANDS && !self.has_done_much();
        }
        let flushed = self.pattern.flush(&self.peer, &mut self.turn);
        if let Ok(lsn) = flushed {
            self.wait_for(lsn);
        }
        let finished = self.finish();
        failed.map_or(Ok(()), Err).and(flushed.map(drop)).and(finished)?;
        if !goes_on {
            self.turn.work.pause = self.turn.work.pause.max(OTHERS_TURN);
            self.rest = batch;
        }
        Ok(goes_on)
    }

    /// True if the rest of the batch should wait.
    fn has_done_much(&mut self) -> bool {
        let publisher = self.turn.publisher.known();
        publisher.is_some_and(|publisher| publisher.has_done_much()) || self.peer.outbox.is_full()
    }

    fn command(&mut self, command: Command<'_>) -> Result<()> {
        match command {
            Command::Subscribe(_) | Command::Cancel(_) => self.pattern.command(&self.peer, command),
            Command::Ping { ttl, context } => {
                if self.heartbeat.has_pinged(ttl) {
                    self.tick = ticks(&self.peer, &self.heartbeat);
                }
                self.peer.send(&mut self.turn.work.wakes, &Command::Pong { context });
                Ok(())
            }
            Command::Error(reason) => {
                let reason = String::from_utf8_lossy(reason);
                Err(Error::Forced(format!("the peer gives up: {reason}").into()))
            }
            // What a newer version has is passed over.
            Command::Pong { .. } | Command::Unknown(_) => Ok(()),
        }
    }

    /// The end of a batch: counts, appends records, wakes others.
    fn finish(&mut self) -> Result<()> {
        if let Some(publisher) = self.turn.publisher.known() {
            publisher.count(&self.peer.node.totals, &self.peer.vhost);
        }
        Ok(self.turn.work.finish(&self.peer.node.log)?)
    }

    /// A durable socket's peer is read on once its messages are on disk.
    fn wait_for(&mut self, lsn: Option<Lsn>) {
        if self.peer.socket.spec.durable {
            let durable = self.peer.node.log.durable();
            self.awaits = lsn.filter(|lsn| *lsn > durable).max(self.awaits);
        }
    }

    /// Begins to close, if somebody has asked for it: from then on only what the peer has sent already is taken.
    fn check_close(&mut self) {
        if let Some(reason) = self.peer.info.take_close()
            && self.closing.is_none()
        {
            tracing::info!(connection = %self.peer.info.name(), "closing the connection: {reason}");
            self.closing = Some(Closing::begin(Instant::now()));
            self.tick.reset_after(SILENCE);
        }
    }

    /// Waits for the log where messages that must be safe or the size of its backlog ask for it.
    fn check_log(&mut self) {
        let node = &self.peer.node;
        let log = &node.log;
        let is_behind = || self.received > 0 && (log.pending_bytes() > LOG_BACKLOG || log.is_crowded());
        if self.awaits.is_none() && is_behind() {
            self.awaits = Some(log.durable());
        }
        let Some(lsn) = self.awaits else { return };
        node.durability.register(&self.peer.outbox);
        // It may have become durable before the registration.
        if lsn <= log.durable() && !is_behind() {
            self.awaits = None;
        }
    }

    /// A peer that publishes is not read while memory or disk space is short.
    fn check_alarms(&mut self) {
        let (alarms, outbox) = (&self.peer.node.alarms, &self.peer.outbox);
        let mut reason = alarms.reason().filter(|_| self.peer.socket.spec.role.publishes());
        if reason.is_some() {
            alarms.wait(outbox);
            // It may have ended before the registration.
            reason = alarms.reason();
        }
        self.blocked = reason.is_some();
        self.peer.info.blocked.store(self.blocked, Ordering::Relaxed);
    }

    /// Has a timer for what the pattern has to do.
    fn watch_pattern(&mut self) {
        let due = self.pattern.due();
        if due != self.due.as_ref().map(|(at, _)| *at) {
            self.due = due.map(|at| (at, Box::pin(tokio::time::sleep_until(at.into()))));
        }
    }

    /// Looks after the connection: its end, heartbeats, memory to give back.
    fn tick(&mut self) -> std::result::Result<(), End> {
        if self.closing.is_some() {
            self.tick.reset_after(SILENCE);
        }
        if self.peer.actor.left().is_some_and(|left| left.is_zero()) {
            self.peer.info.close("credential expired");
        }
        match self.heartbeat.tick(self.may_read(), std::time::Instant::now()) {
            Beat::Missed => return Err(End::Silent("missed heartbeats from the peer")),
            Beat::Due if self.peer.outbox.queued() == 0 => {
                let ping = Command::Ping { ttl: 0, context: b"" };
                self.peer.send(&mut self.turn.work.wakes, &ping);
            }
            Beat::Due | Beat::Rest => {}
        }
        let outbox = &self.peer.outbox;
        if self.output.is_stuck(STUCK) && outbox.is_tight() {
            return Err(End::Silent("the peer takes nothing, and others need the memory"));
        }
        outbox.shrink(KEEP_BUFFER, &mut self.output.frames);
        self.turn.rest();
        Ok(())
    }
}

/// The ticks of a connection: heartbeats, or the end of a token, whichever comes more often.
fn ticks(peer: &Peer, heartbeat: &Heartbeat) -> Interval {
    let period = heartbeat.period();
    let first = peer.actor.left().map_or(period, |left| left.min(period));
    let mut tick = tokio::time::interval_at(Instant::now() + first, period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.peer.node.alarms.leave(&self.peer.outbox);
        self.peer.outbox.close();
        self.peer.info.channels.lock().remove(&CHANNEL);
    }
}
