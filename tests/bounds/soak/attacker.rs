//! A client that means harm: it says all of its part without listening, and takes no refusal for a failure.
//!
//! In: an address, methods, octets. Out: nothing but whether the broker still ends a conversation that is closed in
//! order. Does not know about what the broker answers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use harness::requests::*;
use leveret_amqp::method::*;
use leveret_amqp::{Method, PROTOCOL_HEADER, put_content, put_method_frame};

/// Class of everything that carries a body.
const BASIC: u16 = 60;
/// Most octets of a frame, as this client says in tune-ok.
const FRAME_MAX: u32 = 131_072;
/// Octets that are collected before they are sent.
const PORTION: usize = 256 * 1024;
/// Longest time that the broker may keep this client waiting for room to write, or for the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that is written to.
pub(crate) struct Attacker {
    stream: TcpStream,
    out: Vec<u8>,
}

impl Attacker {
    /// A connection on which nothing was said yet.
    pub(crate) fn raw(address: SocketAddr) -> io::Result<Attacker> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Attacker {
            stream,
            out: Vec::new(),
        })
    }

    /// A connection as guest with channel 1, all said at once.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Attacker> {
        let mut attacker = Attacker::raw(address)?;
        attacker.out.extend_from_slice(&PROTOCOL_HEADER);
        attacker.say(0, start_ok("PLAIN", b"\0guest\0guest"))?;
        let tune = ConnectionTuneOk {
            channel_max: 2047,
            frame_max: FRAME_MAX,
            heartbeat: 0,
        };
        attacker.say(0, tune)?;
        attacker.say(0, open("/"))?;
        attacker.say(1, ChannelOpen::default())?;
        Ok(attacker)
    }

    /// A method.
    pub(crate) fn say(&mut self, channel: u16, method: impl Into<Method>) -> io::Result<()> {
        put_method_frame(&mut self.out, channel, &method.into());
        self.relieve()
    }

    /// A message.
    pub(crate) fn publish(&mut self, exchange: &str, key: &str, properties: &[u8], body: &[u8]) -> io::Result<()> {
        put_method_frame(&mut self.out, 1, &publish(exchange, key).into());
        put_content(&mut self.out, 1, FRAME_MAX, BASIC, properties, body);
        self.relieve()
    }

    /// A message without its last octets.
    pub(crate) fn publish_most(&mut self, key: &str, body: &[u8]) -> io::Result<()> {
        self.publish("", key, &no_properties(), body)?;
        self.out.truncate(self.out.len().saturating_sub(body.len() / 2));
        self.flush()
    }

    /// Octets as they are.
    pub(crate) fn octets(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.extend_from_slice(bytes);
        self.relieve()
    }

    fn relieve(&mut self) -> io::Result<()> {
        if self.out.len() > PORTION {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what was said.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Reads and forgets for a while.
    pub(crate) fn listen(&mut self, span: Duration) -> io::Result<()> {
        self.flush()?;
        self.hear(span).map(|_| ())
    }

    /// Closes in order, and waits until the broker has closed, too.
    ///
    /// # Panics
    /// The broker doesn't end the conversation.
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.say(0, ConnectionClose::default())?;
        self.flush()?;
        assert!(
            self.hear(PATIENCE)?,
            "the broker did not close a connection within {PATIENCE:?}"
        );
        Ok(())
    }

    /// True if the end of the stream came.
    fn hear(&mut self, span: Duration) -> io::Result<bool> {
        let begin = Instant::now();
        let mut room = [0; 65_536];
        while begin.elapsed() < span {
            match self.stream.read(&mut room) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
