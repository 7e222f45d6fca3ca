//! A connection of the load: reads frames, gives them to its producer or consumer, writes what these have.
//!
//! In: readiness of a socket. Out: counts. Does not wait: event loops do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;

use leveret_amqp::method::ConnectionClose;
use leveret_amqp::{FrameKind, FrameView, Method, next_frame, parse_ack, put_method_frame};

use super::client::Client;
use super::consumer::{Consumer, Run};
use super::count::{Counters, Counts, Latencies};
use super::error::Error;
use super::process::now;
use super::publisher::Publisher;

/// Octets that a read takes at most. More than the largest frame, so that a whole one always fits.
pub const BUFFER: usize = 256 << 10;

/// Purpose of a connection.
#[derive(Debug)]
pub enum Role {
    Publish(Box<Publisher>),
    Consume(Consumer),
}

/// A connection that is driven by an event loop.
#[derive(Debug)]
pub struct Link {
    who: String,
    pub socket: TcpStream,
    frame_max: u32,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    pub role: Role,
}

impl Link {
    /// Takes over a connection that has been set up.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub fn new(client: Client, who: String, role: Role) -> Result<Link, Error> {
        let set = client.socket.set_nonblocking(true);
        set.map_err(|source| Error::Socket {
            who: who.clone(),
            source,
        })?;
        Ok(Link {
            who,
            socket: client.socket,
            frame_max: client.frame_max,
            rest: client.received,
            role,
        })
    }

    /// Reads once and understands all whole frames. `buffer` has [`BUFFER`] octets and belongs to the loop.
    ///
    /// # Errors
    /// The broker is gone, has closed, or speaks something else.
    pub fn read(&mut self, buffer: &mut [u8], counters: &Counters, latencies: &mut Latencies) -> Result<(), Error> {
        let kept = self.rest.len();
        // What came while the connection was set up may be more than a buffer.
        if kept >= buffer.len() {
            return self.understand_rest(counters, latencies);
        }
        let (front, back) = buffer.split_at_mut(kept);
        front.copy_from_slice(&self.rest);
        let count = match self.socket.read(back) {
            Ok(0) => {
                return Err(Error::Gone {
                    who: self.who.clone(),
                    hint: "",
                });
            }
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(source) => {
                return Err(Error::Socket {
                    who: self.who.clone(),
                    source,
                });
            }
        };
        let read = buffer.get(..kept + count).unwrap_or_default();
        let understood = self.understand(read, counters, latencies)?;
        self.rest.clear();
        self.rest.extend_from_slice(read.get(understood..).unwrap_or_default());
        Ok(())
    }

    /// Understands what came before the loop.
    ///
    /// # Errors
    /// As `read`.
    pub fn understand_rest(&mut self, counters: &Counters, latencies: &mut Latencies) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.rest);
        let understood = self.understand(&rest, counters, latencies)?;
        self.rest = rest.get(understood..).unwrap_or_default().to_vec();
        Ok(())
    }

    /// Returns how many octets were whole frames.
    fn understand(&mut self, read: &[u8], counters: &Counters, latencies: &mut Latencies) -> Result<usize, Error> {
        let (mut counts, mut run, mut at) = (Counts::default(), Run::default(), 0);
        let now = now();
        loop {
            let octets = read.get(at..).unwrap_or_default();
            let frame = next_frame(octets, self.frame_max);
            let Some(frame) = frame.map_err(|source| Error::Frame {
                who: self.who.clone(),
                source,
            })?
            else {
                break;
            };
            at += frame.wire_len();
            let known = match &mut self.role {
                Role::Consume(consumer) if consumer.is_done() => break,
                Role::Consume(consumer) => {
                    let delivery = consumer.frame(&frame, now, &mut run, latencies);
                    counts.consumed += u64::from(delivery);
                    delivery || frame.kind != FrameKind::Method
                }
                Role::Publish(publisher) => match parse_ack(frame.payload) {
                    Some(Ok((tag, multiple))) if frame.kind == FrameKind::Method => {
                        let settled = publisher.settle(tag, multiple, now, latencies);
                        counts.confirmed += settled.ok_or_else(|| self.unexpected(format!("a confirm of {tag}")))?;
                        true
                    }
                    _ => frame.kind != FrameKind::Method,
                },
            };
            if !known {
                self.seldom(&frame, now, &mut counts, counters, latencies)?;
            }
        }
        run.end(now, latencies);
        counters.add(counts);
        Ok(at)
    }

    /// Methods that do not come with every message.
    fn seldom(
        &mut self,
        frame: &FrameView<'_>,
        now: u64,
        counts: &mut Counts,
        counters: &Counters,
        latencies: &mut Latencies,
    ) -> Result<(), Error> {
        let method = Method::parse(frame.payload);
        let method = method.map_err(|source| Error::Method {
            who: self.who.clone(),
            source,
        })?;
        let closed = |who: &String, code, text: &leveret_amqp::ShortString| Error::Closed {
            who: who.clone(),
            code,
            text: text.to_str_lossy().into_owned(),
        };
        match method {
            Method::ConnectionClose(close) => return Err(closed(&self.who, close.reply_code, &close.reply_text)),
            Method::ChannelClose(close) => return Err(closed(&self.who, close.reply_code, &close.reply_text)),
            Method::BasicCancel(_) => return Err(Error::Cancelled { who: self.who.clone() }),
            Method::BasicReturn(_) => counts.returned += 1,
            Method::BasicNack(nack) => {
                if let Role::Publish(publisher) = &mut self.role {
                    let settled = publisher.settle(nack.delivery_tag, nack.multiple, now, latencies);
                    counts.nacked += settled.unwrap_or_default();
                }
            }
            Method::ConnectionBlocked(_) => self.blocked(true, counters),
            Method::ConnectionUnblocked(_) => self.blocked(false, counters),
            _ => {}
        }
        Ok(())
    }

    fn blocked(&mut self, blocked: bool, counters: &Counters) {
        let Role::Publish(publisher) = &mut self.role else {
            return;
        };
        match (publisher.blocked, blocked) {
            (false, true) => counters.blocked.fetch_add(1, Relaxed),
            (true, false) => counters.blocked.fetch_sub(1, Relaxed),
            _ => 0,
        };
        publisher.blocked = blocked;
    }

    fn unexpected(&self, what: String) -> Error {
        Error::Unexpected {
            who: self.who.clone(),
            what,
        }
    }

    /// Writes what there is; `true` if it waits for the socket.
    ///
    /// # Errors
    /// The socket's.
    pub fn write(&mut self, counters: &Counters) -> Result<bool, Error> {
        let result = match &mut self.role {
            Role::Publish(publisher) => publisher.pump(&mut self.socket, counters),
            Role::Consume(consumer) => drain(&mut self.socket, &mut consumer.out),
        };
        match result {
            Ok(waits) => Ok(waits),
            // The reason is in what the broker has sent before: let it be read first.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(false),
            Err(source) => Err(Error::Socket {
                who: self.who.clone(),
                source,
            }),
        }
    }

    /// When there is something to send without anybody saying so, ns of the clock.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        match &self.role {
            Role::Publish(publisher) => publisher.due(),
            Role::Consume(_) => None,
        }
    }

    /// True if nothing more is to be read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(&self.role, Role::Consume(consumer) if consumer.is_done() && consumer.out.is_empty())
    }

    /// Acknowledges the last messages and says goodbye, unless a message is half written. `true` if an answer will
    /// come.
    pub fn say_goodbye(&mut self) -> bool {
        let mut out = Vec::new();
        match &mut self.role {
            Role::Publish(publisher) if publisher.is_mid_write() => return false,
            Role::Publish(_) => {}
            Role::Consume(consumer) => {
                consumer.acknowledge();
                out.append(&mut consumer.out);
            }
        }
        let goodbye = ConnectionClose {
            reply_code: 200,
            ..ConnectionClose::default()
        };
        put_method_frame(&mut out, 0, &goodbye.into());
        self.socket.set_nonblocking(false).is_ok() && self.socket.write_all(&out).is_ok()
    }
}

/// Writes from the front of `out`; `true` if the socket takes no more.
fn drain(socket: &mut TcpStream, out: &mut Vec<u8>) -> io::Result<bool> {
    let mut done = 0;
    let result = loop {
        let rest = out.get(done..).unwrap_or_default();
        if rest.is_empty() {
            break Ok(false);
        }
        match socket.write(rest) {
            Ok(written) => done += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    out.drain(..done);
    result
}
