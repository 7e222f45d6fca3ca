//! What there is to reach: a broker that does nothing, loopback TCP, the disk.
//!
//! In: sizes and seconds. Out: lines on stdout. Does not know about loads.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use leveret_amqp::method::{
    BasicConsumeOk, ChannelOpenOk, ConfirmSelectOk, ConnectionCloseOk, ConnectionOpenOk, ConnectionStart,
    ConnectionTune, ExchangeDeclareOk, QueueBindOk, QueueDeclareOk, QueueDeleteOk,
};
use leveret_amqp::{Method, next_frame, put_ack, put_content, put_deliver, put_method_frame};

use super::args::Limit;
use super::client::CHANNEL;
use super::error::Error;
use super::link::BUFFER;
use super::process::own_cpu;

/// Frames, octets.
const FRAME_MAX: u32 = 131_072;

/// Octets of a write.
const BATCH: usize = 65_536;

/// Octets that the disk is written with, at most.
const FILE: u64 = 512 << 20;

/// Discards and confirms publishes, and gives consumers the same messages for ever, until it is killed.
///
/// # Errors
/// The port is taken.
pub fn sink(limit: &Limit) -> Result<(), Error> {
    let system = |source| Error::System { what: "listen", source };
    let size = limit.size;
    for socket in TcpListener::bind(("127.0.0.1", limit.port)).map_err(system)?.incoming() {
        let socket = socket.map_err(system)?;
        // A client that goes away is no concern of the others.
        thread::spawn(move || Sink::new(socket).serve(size));
    }
    Ok(())
}

struct Sink {
    socket: TcpStream,
    out: Vec<u8>,
    published: u64,
    confirms: bool,
    consumed: bool,
}

impl Sink {
    const fn new(socket: TcpStream) -> Sink {
        Sink {
            socket,
            out: Vec::new(),
            published: 0,
            confirms: false,
            consumed: false,
        }
    }

    fn serve(&mut self, size: usize) -> io::Result<()> {
        self.socket.set_nodelay(true)?;
        self.socket.read_exact(&mut [0; 8])?;
        self.answer(
            0,
            ConnectionStart {
                version_minor: 9,
                mechanisms: "PLAIN".into(),
                ..ConnectionStart::default()
            },
        );
        let (mut buffer, mut filled) = (vec![0; BUFFER], 0);
        while !self.consumed {
            self.socket.write_all(&self.out)?;
            self.out.clear();
            match self.socket.read(buffer.get_mut(filled..).unwrap_or_default())? {
                0 => return Ok(()),
                count => filled += count,
            }
            let before = self.published;
            let understood = self.understand(buffer.get(..filled).unwrap_or_default())?;
            buffer.copy_within(understood..filled, 0);
            filled -= understood;
            if self.confirms && self.published > before {
                put_ack(&mut self.out, CHANNEL, self.published, true);
            }
        }
        self.socket.write_all(&self.out)?;
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            put_deliver(&mut batch, CHANNEL, b"0", 1, false, b"", b"bench");
            put_content(&mut batch, CHANNEL, FRAME_MAX, 60, &[0, 0], &vec![b'x'; size]);
        }
        loop {
            self.socket.write_all(&batch)?;
        }
    }

    fn understand(&mut self, mut octets: &[u8]) -> io::Result<usize> {
        let all = octets.len();
        while let Some(frame) = next_frame(octets, 0).map_err(io::Error::other)? {
            octets = octets.get(frame.wire_len()..).unwrap_or_default();
            match frame.payload {
                [0, 60, 0, 40, ..] => self.published += 1,
                payload if frame.kind == leveret_amqp::FrameKind::Method => {
                    self.method(frame.channel, &Method::parse(payload).map_err(io::Error::other)?);
                }
                _ => {}
            }
        }
        Ok(all - octets.len())
    }

    fn answer(&mut self, channel: u16, method: impl Into<Method>) {
        put_method_frame(&mut self.out, channel, &method.into());
    }

    fn method(&mut self, channel: u16, method: &Method) {
        let tune = ConnectionTune {
            channel_max: 2047,
            frame_max: FRAME_MAX,
            heartbeat: 0,
        };
        match method {
            Method::ConnectionStartOk(_) => self.answer(0, tune),
            Method::ConnectionOpen(_) => self.answer(0, ConnectionOpenOk {}),
            Method::ConnectionClose(_) => self.answer(0, ConnectionCloseOk {}),
            Method::ChannelOpen(_) => self.answer(channel, ChannelOpenOk {}),
            Method::QueueDeclare(_) => self.answer(channel, QueueDeclareOk::default()),
            Method::QueueDelete(_) => self.answer(channel, QueueDeleteOk::default()),
            Method::QueueBind(_) => self.answer(channel, QueueBindOk {}),
            Method::ExchangeDeclare(_) => self.answer(channel, ExchangeDeclareOk {}),
            Method::BasicQos(_) => self.answer(channel, leveret_amqp::method::BasicQosOk {}),
            Method::ConfirmSelect(_) => {
                self.confirms = true;
                self.answer(channel, ConfirmSelectOk {});
            }
            Method::BasicConsume(consume) => {
                self.consumed = true;
                if !consume.no_wait {
                    self.answer(channel, BasicConsumeOk::default());
                }
            }
            _ => {}
        }
    }
}

/// 64 KiB writes over loopback to a reader that throws them away.
///
/// # Errors
/// The sockets'.
pub fn tcp(limit: &Limit) -> Result<(), Error> {
    let (octets, seconds, cpu) = stream(limit).map_err(|source| Error::System {
        what: "measure loopback",
        source,
    })?;
    println!(
        "tcp loopback, 64 KiB writes: {:.0} MB/s, {:.2} cores",
        octets as f64 / seconds / 1e6,
        cpu / seconds
    );
    Ok(())
}

fn stream(limit: &Limit) -> io::Result<(u64, f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut writer = TcpStream::connect(listener.local_addr()?)?;
    let (mut reader, _) = listener.accept()?;
    let reading = thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    let (start, cpu, batch) = (Instant::now(), own_cpu(), vec![7; BATCH]);
    while start.elapsed().as_secs_f64() < limit.secs {
        writer.write_all(&batch)?;
    }
    drop(writer);
    let octets = reading.join().unwrap_or(Ok(0))?;
    Ok((octets, start.elapsed().as_secs_f64(), own_cpu() - cpu))
}

/// Appends with fdatasync, into space that was written before, and growing the file; then sequential writes.
///
/// # Errors
/// The disk's.
pub fn disk(limit: &Limit) -> Result<(), Error> {
    let path = limit.dir.join("leveret-perf-disk.tmp");
    let result = appends(limit, &path).and_then(|()| sequential(&path));
    let _ = std::fs::remove_file(&path);
    result.map_err(|source| Error::System {
        what: "measure the disk (--dir)",
        source,
    })
}

fn appends(limit: &Limit, path: &std::path::Path) -> io::Result<()> {
    for (what, filled) in [("into zero-filled space", true), ("growing the file", false)] {
        for size in [4096_usize, 65_536, 1 << 20] {
            let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
            if filled {
                let zeros = vec![0; 1 << 20];
                (0..FILE >> 20).try_for_each(|piece| file.write_all_at(&zeros, piece << 20))?;
            }
            file.sync_all()?;
            let (block, mut at, start) = (vec![1; size], 0, Instant::now());
            let mut times = Histogram::<u64>::new(3).map_err(io::Error::other)?;
            while start.elapsed() < Duration::from_secs_f64(limit.secs) && at + (size as u64) < FILE {
                let begun = Instant::now();
                file.write_all_at(&block, at)?;
                file.sync_data()?;
                times.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
                at += size as u64;
            }
            let (seconds, at_quantile) = (start.elapsed().as_secs_f64(), |q| times.value_at_quantile(q));
            println!(
                "write {size} octets + fdatasync {what}: p50 {} us p99 {} us p99.9 {} us max {} us, {:.0}/s, {:.1} MB/s",
                at_quantile(0.5),
                at_quantile(0.99),
                at_quantile(0.999),
                times.max(),
                times.len() as f64 / seconds,
                at as f64 / seconds / 1e6
            );
        }
    }
    Ok(())
}

fn sequential(path: &std::path::Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    let (block, start) = (vec![1; 1 << 20], Instant::now());
    (0..4096).try_for_each(|piece| file.write_all_at(&block, piece << 20))?;
    let cached = start.elapsed().as_secs_f64();
    file.sync_data()?;
    let synced = start.elapsed().as_secs_f64();
    let rate = |seconds: f64| 4294.97 / seconds;
    println!(
        "sequential 4 GiB, 1 MiB writes: {:.0} MB/s into the page cache, {:.0} MB/s with the final fdatasync",
        rate(cached),
        rate(synced)
    );
    Ok(())
}
