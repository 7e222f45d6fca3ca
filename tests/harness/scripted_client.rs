//! A client that does exactly what a test says: it sends frames, good or bad, and expects frames, one by one.
//!
//! In: an address and methods. Out: the frames that come back; a panic when something else comes, or nothing in time.
//! Does not know about what a broker should answer: tests do.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use leveret_amqp::method::*;
use leveret_amqp::{
    FieldTable, FieldValue, FrameKind, Method, PROTOCOL_HEADER, ShortString, next_frame, parse_header, put_content,
    put_heartbeat, put_method_frame,
};

use crate::requests;

/// The time that an expected frame may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The class of everything that carries a body.
pub const BASIC: u16 = 60;

/// One frame, as it was received.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    Method(u16, Method),
    Header { channel: u16, size: u64, properties: Bytes },
    Body(u16, Bytes),
    Heartbeat,
}

/// A message with the method that brought it.
#[derive(Debug, Clone, PartialEq)]
pub struct Content<M> {
    pub method: M,
    pub properties: Bytes,
    pub body: Bytes,
}

/// A connection that a test drives by hand.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    /// Octets of `received` that were given out already.
    taken: usize,
    frame_max: u32,
}

/// Expects a method on a channel and gives its arguments: `expect!(client, 1, QueueDeclareOk)`.
#[macro_export]
macro_rules! expect {
    ($client:expr, $channel:expr, $method:ident) => {
        match $client.method($channel) {
            ::leveret_amqp::Method::$method(arguments) => arguments,
            other => panic!("expected {}, got {other:?}", stringify!($method)),
        }
    };
}

/// Sends a method and expects its answer: `call!(client, 1, declare("q") => QueueDeclareOk)`.
#[macro_export]
macro_rules! call {
    ($client:expr, $channel:expr, $method:expr => $answer:ident) => {{
        $client.send($channel, $method);
        $crate::expect!($client, $channel, $answer)
    }};
}

impl Client {
    /// A TCP connection on which nothing was said yet.
    pub fn raw(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the broker listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Client {
            stream,
            received: Vec::new(),
            taken: 0,
            frame_max: 131_072,
        }
    }

    /// An open connection as guest to `/`.
    pub fn connect(address: SocketAddr) -> Client {
        Client::connect_to(address, "/")
    }

    /// An open connection as guest to a vhost.
    pub fn connect_to(address: SocketAddr, vhost: &str) -> Client {
        let mut client = Client::opening(address, vhost);
        expect!(client, 0, ConnectionOpenOk);
        client
    }

    /// A connection as guest that has asked for a vhost; the answer is to come.
    pub fn opening(address: SocketAddr, vhost: &str) -> Client {
        let mut client = Client::raw(address);
        client.log_in();
        client.send(
            0,
            ConnectionTuneOk {
                channel_max: 2047,
                frame_max: 131_072,
                heartbeat: 0,
            },
        );
        client.send(0, requests::open(vhost));
        client
    }

    /// An open connection with channel 1 open on it.
    pub fn with_channel(address: SocketAddr) -> Client {
        let mut client = Client::connect(address);
        client.open_channel(1);
        client
    }

    /// From the protocol header to tune, as guest; the caller answers the tune.
    pub fn log_in(&mut self) -> ConnectionTune {
        self.start();
        self.send(0, requests::start_ok("PLAIN", b"\0guest\0guest"));
        expect!(self, 0, ConnectionTune)
    }

    /// Sends the protocol header.
    pub fn start(&mut self) -> ConnectionStart {
        self.send_bytes(&PROTOCOL_HEADER);
        expect!(self, 0, ConnectionStart)
    }

    /// Takes the broker's limits as it offers them, without heartbeats.
    pub fn accept(&mut self, tune: &ConnectionTune) {
        let accepted = ConnectionTuneOk {
            channel_max: tune.channel_max,
            frame_max: tune.frame_max,
            heartbeat: 0,
        };
        self.send(0, accepted);
    }

    /// Opens a vhost; the last step of the handshake.
    pub fn open(&mut self, vhost: &str) {
        self.send(0, requests::open(vhost));
        expect!(self, 0, ConnectionOpenOk);
    }

    /// Opens a channel.
    pub fn open_channel(&mut self, channel: u16) {
        call!(self, channel, ChannelOpen::default() => ChannelOpenOk);
    }

    /// The limit by which this client cuts bodies into frames, and above which it takes no frame. Octets.
    pub fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
    }

    /// Sends a method.
    pub fn send(&mut self, channel: u16, method: impl Into<Method>) {
        let mut out = Vec::new();
        put_method_frame(&mut out, channel, &method.into());
        self.send_bytes(&out);
    }

    /// Sends octets as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).expect("the broker reads");
    }

    /// [`Client::send_bytes`] to a broker that may have closed already.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a heartbeat.
    pub fn send_heartbeat(&mut self) {
        let mut out = Vec::new();
        put_heartbeat(&mut out);
        self.send_bytes(&out);
    }

    /// Publishes a body without properties.
    pub fn publish(&mut self, channel: u16, exchange: &str, key: &str, body: &[u8]) {
        self.publish_with(
            channel,
            requests::publish(exchange, key),
            &requests::no_properties(),
            body,
        );
    }

    /// Publishes a persistent message.
    pub fn publish_persistent(&mut self, channel: u16, exchange: &str, key: &str, body: &[u8]) {
        self.publish_with(channel, requests::publish(exchange, key), &requests::persistent(), body);
    }

    /// [`Client::publish_persistent`] to a broker that may be gone.
    pub fn try_publish_persistent(
        &mut self,
        channel: u16,
        exchange: &str,
        key: &str,
        body: &[u8],
    ) -> std::io::Result<()> {
        let mut out = Vec::new();
        put_method_frame(&mut out, channel, &requests::publish(exchange, key).into());
        put_content(&mut out, channel, self.frame_max, BASIC, &requests::persistent(), body);
        self.try_send_bytes(&out)
    }

    /// Publishes with the given flags and properties (as on the wire: flags and list).
    pub fn publish_with(&mut self, channel: u16, publish: BasicPublish, properties: &[u8], body: &[u8]) {
        let mut out = Vec::new();
        put_method_frame(&mut out, channel, &publish.into());
        put_content(&mut out, channel, self.frame_max, BASIC, properties, body);
        self.send_bytes(&out);
    }

    /// The next frame, heartbeats left out; `None` when the broker has closed the socket.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            match self.any_frame(PATIENCE) {
                Ok(Some(Frame::Heartbeat)) => {}
                Ok(frame) => return frame,
                Err(TimedOut) => panic!("nothing came within {PATIENCE:?}"),
            }
        }
    }

    /// The next method, which must be on `channel`.
    pub fn method(&mut self, channel: u16) -> Method {
        match self.frame() {
            Some(Frame::Method(on, method)) if on == channel => method,
            other => panic!("expected a method on channel {channel}, got {other:?}"),
        }
    }

    /// A message: basic.deliver and its content.
    pub fn delivery(&mut self, channel: u16) -> Content<BasicDeliver> {
        let method = expect!(self, channel, BasicDeliver);
        self.content(channel, method)
    }

    /// A message that was returned: basic.return and its content.
    pub fn returned(&mut self, channel: u16) -> Content<BasicReturn> {
        let method = expect!(self, channel, BasicReturn);
        self.content(channel, method)
    }

    /// Asks for one message; `None` when the queue is empty.
    pub fn get(&mut self, channel: u16, queue: &str, no_ack: bool) -> Option<Content<BasicGetOk>> {
        self.send(
            channel,
            BasicGet {
                no_ack,
                ..requests::get(queue)
            },
        );
        match self.method(channel) {
            Method::BasicGetOk(method) => Some(self.content(channel, method)),
            Method::BasicGetEmpty(_) => None,
            other => panic!("expected an answer to basic.get, got {other:?}"),
        }
    }

    fn content<M>(&mut self, channel: u16, method: M) -> Content<M> {
        let (size, properties) = match self.frame() {
            Some(Frame::Header {
                channel: on,
                size,
                properties,
            }) if on == channel => (size, properties),
            other => panic!("expected a content header on channel {channel}, got {other:?}"),
        };
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            match self.frame() {
                Some(Frame::Body(on, part)) if on == channel => body.extend_from_slice(&part),
                other => panic!("expected a body on channel {channel}, got {other:?}"),
            }
        }
        assert_eq!(body.len() as u64, size, "the body is as long as its header says");
        Content {
            method,
            properties,
            body: body.into(),
        }
    }

    /// Expects that the channel is closed with this code and text, and agrees.
    pub fn channel_error(&mut self, channel: u16, code: u16, text: &str) -> ChannelClose {
        let close = expect!(self, channel, ChannelClose);
        assert_eq!(
            (close.reply_code, close.reply_text.to_str_lossy().as_ref()),
            (code, text)
        );
        self.send(channel, ChannelCloseOk::default());
        close
    }

    /// Expects that the connection is closed with this code and text, agrees, and sees the socket closed.
    pub fn connection_error(&mut self, code: u16, text: &str) -> ConnectionClose {
        let close = self.connection_close(code);
        assert_eq!(
            (close.reply_code, close.reply_text.to_str_lossy().as_ref()),
            (code, text)
        );
        close
    }

    /// [`Client::connection_error`] where the text does not matter.
    pub fn connection_close(&mut self, code: u16) -> ConnectionClose {
        let close = expect!(self, 0, ConnectionClose);
        assert_eq!(close.reply_code, code, "{:?}", close.reply_text);
        let mut out = Vec::new();
        put_method_frame(&mut out, 0, &ConnectionCloseOk::default().into());
        let _ = self.try_send_bytes(&out); // the broker need not wait for it
        self.end();
        close
    }

    /// Expects a refusal during the handshake: a close with this code and text, or, as RabbitMQ does it there, the end
    /// of the stream without a word.
    pub fn refusal(&mut self, code: u16, text: &str) {
        match self.frame() {
            None => {}
            Some(Frame::Method(0, Method::ConnectionClose(close))) => {
                let said = close.reply_text.to_str_lossy();
                assert!(close.reply_code == code && said.starts_with(text), "{close:?}");
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    /// Expects the end of the stream, whatever still comes before it.
    pub fn end(&mut self) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match self.any_frame(PATIENCE) {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(TimedOut) => break,
            }
        }
        panic!("the socket was not closed within {PATIENCE:?}");
    }

    /// Closes the connection in order.
    pub fn close(mut self) {
        self.send(
            0,
            ConnectionClose {
                reply_code: 200,
                ..ConnectionClose::default()
            },
        );
        loop {
            match self.frame() {
                Some(Frame::Method(0, Method::ConnectionCloseOk(_))) | None => return,
                Some(_) => {}
            }
        }
    }

    /// The socket, for a test that goes on without a client. What was received and not looked at is lost.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Expects that nothing but heartbeats comes for this long.
    pub fn quiet(&mut self, span: Duration) {
        let start = Instant::now();
        while let Some(left) = span.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            match self.any_frame(left) {
                Ok(Some(Frame::Heartbeat)) | Err(TimedOut) => {}
                Ok(other) => panic!("expected silence, got {other:?}"),
            }
        }
    }

    /// The next frame, heartbeats included; `Ok(None)` at the end of the stream.
    pub fn any_frame(&mut self, within: Duration) -> Result<Option<Frame>, TimedOut> {
        let start = Instant::now();
        loop {
            if let Some((frame, length)) = parse(&self.received[self.taken..]) {
                self.taken += length;
                return Ok(Some(frame));
            }
            self.received.drain(..self.taken);
            self.taken = 0;
            let left = within
                .checked_sub(start.elapsed())
                .filter(|left| !left.is_zero())
                .ok_or(TimedOut)?;
            self.stream.set_read_timeout(Some(left)).expect("a TCP socket");
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => panic!("reading: {error}"),
            }
        }
    }

    /// At most `count` octets that are no frames, or all until the end: what a broker answers to a protocol header it
    /// does not speak.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        let mut bytes = self.received.split_off(self.taken);
        while bytes.len() < count {
            let mut chunk = [0; 256];
            match self.stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => bytes.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("reading: {error}"),
            }
        }
        bytes
    }
}

/// Nothing came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

fn parse(received: &[u8]) -> Option<(Frame, usize)> {
    let view = next_frame(received, 0).unwrap_or_else(|error| panic!("the broker sent no frame: {error}"))?;
    let frame = match view.kind {
        FrameKind::Heartbeat => Frame::Heartbeat,
        FrameKind::Body => Frame::Body(view.channel, Bytes::copy_from_slice(view.payload)),
        FrameKind::Method => {
            let method =
                Method::parse(view.payload).unwrap_or_else(|error| panic!("the broker sent no method: {error}"));
            Frame::Method(view.channel, method)
        }
        FrameKind::Header => {
            let header =
                parse_header(view.payload).unwrap_or_else(|error| panic!("the broker sent no header: {error}"));
            let properties = Bytes::copy_from_slice(header.properties);
            Frame::Header {
                channel: view.channel,
                size: header.body_size,
                properties,
            }
        }
    };
    Some((frame, view.wire_len()))
}

/// A short string that fits.
pub fn short(text: &str) -> ShortString {
    ShortString::try_from(text).expect("at most 255 octets")
}

/// A table from pairs: values, or octets where a method carries them.
pub fn table<const N: usize, T: From<FieldTable>>(pairs: [(&str, FieldValue); N]) -> T {
    let table: FieldTable = pairs.into_iter().map(|(name, value)| (short(name), value)).collect();
    table.into()
}
