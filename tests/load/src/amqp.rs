//! AMQP 0-9-1 encoding by hand, and a small blocking client for set-up and for sequential tests.
use std::io::{self, Read, Write};
use std::net::TcpStream;

pub const METHOD: u8 = 1;
pub const HEADER: u8 = 2;
pub const BODY: u8 = 3;
pub const END: u8 = 0xCE;

pub fn u16be(b: &[u8]) -> u16 {
    u16::from_be_bytes(b[..2].try_into().unwrap())
}
pub fn u32be(b: &[u8]) -> u32 {
    u32::from_be_bytes(b[..4].try_into().unwrap())
}
pub fn u64be(b: &[u8]) -> u64 {
    u64::from_be_bytes(b[..8].try_into().unwrap())
}
pub fn put_short(o: &mut Vec<u8>, s: &str) {
    o.push(s.len() as u8);
    o.extend_from_slice(s.as_bytes());
}
pub fn put_long(o: &mut Vec<u8>, s: &[u8]) {
    o.extend_from_slice(&(s.len() as u32).to_be_bytes());
    o.extend_from_slice(s);
}

/// One frame; the payload is what `f` appends.
pub fn frame(o: &mut Vec<u8>, kind: u8, ch: u16, f: impl FnOnce(&mut Vec<u8>)) {
    o.push(kind);
    o.extend_from_slice(&ch.to_be_bytes());
    let at = o.len();
    o.extend_from_slice(&[0; 4]);
    f(o);
    let n = (o.len() - at - 4) as u32;
    o[at..at + 4].copy_from_slice(&n.to_be_bytes());
    o.push(END);
}
pub fn method(o: &mut Vec<u8>, ch: u16, id: (u16, u16), f: impl FnOnce(&mut Vec<u8>)) {
    frame(o, METHOD, ch, |o| {
        o.extend_from_slice(&id.0.to_be_bytes());
        o.extend_from_slice(&id.1.to_be_bytes());
        f(o)
    })
}

/// Field table; a value that is a number goes as a 64-bit integer, true/false as a boolean, else a string.
pub fn put_table(o: &mut Vec<u8>, t: &[(String, String)]) {
    let at = o.len();
    o.extend_from_slice(&[0; 4]);
    for (k, v) in t {
        put_short(o, k);
        if let Ok(i) = v.parse::<i64>() {
            o.push(b'l');
            o.extend_from_slice(&i.to_be_bytes());
        } else if v == "true" || v == "false" {
            o.push(b't');
            o.push((v == "true") as u8);
        } else {
            o.push(b'S');
            put_long(o, v.as_bytes());
        }
    }
    let n = (o.len() - at - 4) as u32;
    o[at..at + 4].copy_from_slice(&n.to_be_bytes());
}

/// A whole publish (method, header, body frames). Returns where in `o` the body starts.
pub fn publish(o: &mut Vec<u8>, exchange: &str, key: &str, persistent: bool, body: usize, frame_max: usize) -> usize {
    method(o, 1, (60, 40), |o| {
        o.extend_from_slice(&[0; 2]);
        put_short(o, exchange);
        put_short(o, key);
        o.push(0);
    });
    content(o, persistent, body, frame_max)
}
pub fn content(o: &mut Vec<u8>, persistent: bool, body: usize, frame_max: usize) -> usize {
    frame(o, HEADER, 1, |o| {
        o.extend_from_slice(&[0, 60, 0, 0]);
        o.extend_from_slice(&(body as u64).to_be_bytes());
        o.extend_from_slice(&0x1000u16.to_be_bytes());
        o.push(if persistent { 2 } else { 1 });
    });
    let (mut left, at) = (body, o.len() + 7);
    while left > 0 {
        let n = left.min(frame_max - 8);
        frame(o, BODY, 1, |o| o.extend((0..n).map(|i| b'a' + (i % 23) as u8)));
        left -= n;
    }
    at
}

#[derive(Clone)]
pub struct Server {
    pub addr: String,
    pub user: String,
    pub pass: String,
    pub vhost: String,
}

pub struct Client {
    pub sock: TcpStream,
    pub frame_max: usize,
    pub rbuf: Vec<u8>,
    pos: usize,
    out: Vec<u8>,
}

fn bad(s: String) -> io::Error {
    io::Error::other(s)
}

impl Client {
    /// Connects, logs in and opens channel 1.
    pub fn open(s: &Server) -> io::Result<Client> {
        let sock = TcpStream::connect(&s.addr)?;
        sock.set_nodelay(true)?;
        let mut c = Client {
            sock,
            frame_max: 131072,
            rbuf: Vec::with_capacity(4096),
            pos: 0,
            out: Vec::new(),
        };
        c.sock.write_all(b"AMQP\x00\x00\x09\x01")?;
        c.wait((10, 10))?;
        let mut o = Vec::new();
        method(&mut o, 0, (10, 11), |o| {
            let mut caps = Vec::new();
            for k in [
                "publisher_confirms",
                "basic.nack",
                "consumer_cancel_notify",
                "authentication_failure_close",
            ] {
                put_short(&mut caps, k);
                caps.extend_from_slice(b"t\x01");
            }
            let mut t = Vec::new();
            put_short(&mut t, "product");
            t.push(b'S');
            put_long(&mut t, b"leveret-load");
            put_short(&mut t, "capabilities");
            t.push(b'F');
            put_long(&mut t, &caps);
            put_long(o, &t);
            put_short(o, "PLAIN");
            put_long(o, format!("\0{}\0{}", s.user, s.pass).as_bytes());
            put_short(o, "en_US");
        });
        c.sock.write_all(&o)?;
        let tune = c.wait((10, 30))?;
        let (chans, fm) = (u16be(&tune[4..]), u32be(&tune[6..]));
        c.frame_max = if fm == 0 { 131072 } else { fm.min(131072) as usize };
        let fm = c.frame_max as u32;
        o.clear();
        method(&mut o, 0, (10, 31), |o| {
            o.extend_from_slice(&chans.to_be_bytes());
            o.extend_from_slice(&fm.to_be_bytes());
            o.extend_from_slice(&[0, 0]); // no heartbeats
        });
        method(&mut o, 0, (10, 40), |o| {
            put_short(o, &s.vhost);
            o.extend_from_slice(&[0, 0]);
        });
        c.sock.write_all(&o)?;
        c.wait((10, 41))?;
        c.rpc(1, (20, 10), (20, 11), |o| o.push(0))?;
        Ok(c)
    }

    /// Retries until the server takes a connection.
    pub fn open_retry(s: &Server, secs: f64) -> io::Result<Client> {
        let t = std::time::Instant::now();
        loop {
            match Client::open(s) {
                Err(e) if t.elapsed().as_secs_f64() > secs => return Err(e),
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
                ok => return ok,
            }
        }
    }

    pub fn rpc(
        &mut self,
        ch: u16,
        id: (u16, u16),
        want: (u16, u16),
        f: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<Vec<u8>> {
        self.out.clear();
        method(&mut self.out, ch, id, f);
        self.sock.write_all(&self.out)?;
        self.wait(want)
    }

    pub fn wait(&mut self, want: (u16, u16)) -> io::Result<Vec<u8>> {
        loop {
            let b = &self.rbuf[self.pos..];
            if b.len() >= 7 {
                let n = u32be(&b[3..]) as usize;
                if b.len() >= n + 8 {
                    let (kind, p) = (b[0], b[7..7 + n].to_vec());
                    self.pos += n + 8;
                    if kind != METHOD {
                        continue;
                    }
                    let id = (u16be(&p), u16be(&p[2..]));
                    if id == want {
                        self.rbuf.drain(..self.pos);
                        self.pos = 0;
                        return Ok(p);
                    }
                    if let Some(s) = closed(&p) {
                        return Err(bad(s));
                    }
                    continue;
                }
            }
            let at = self.rbuf.len();
            self.rbuf.resize(at + 65536, 0);
            let n = self.sock.read(&mut self.rbuf[at..])?;
            self.rbuf.truncate(at + n);
            if n == 0 {
                return Err(bad("connection closed by the server".into()));
            }
        }
    }

    pub fn queue_declare(
        &mut self,
        q: &str,
        durable: bool,
        passive: bool,
        args: &[(String, String)],
    ) -> io::Result<u32> {
        let p = self.rpc(1, (50, 10), (50, 11), |o| {
            o.extend_from_slice(&[0, 0]);
            put_short(o, q);
            o.push(passive as u8 | (durable as u8) << 1);
            put_table(o, args);
        })?;
        Ok(u32be(&p[5 + p[4] as usize..]))
    }
    pub fn queue_delete(&mut self, q: &str) -> io::Result<()> {
        self.rpc(1, (50, 40), (50, 41), |o| {
            o.extend_from_slice(&[0, 0]);
            put_short(o, q);
            o.push(0);
        })?;
        Ok(())
    }
    pub fn exchange_declare(&mut self, x: &str, kind: &str, durable: bool) -> io::Result<()> {
        self.rpc(1, (40, 10), (40, 11), |o| {
            o.extend_from_slice(&[0, 0]);
            put_short(o, x);
            put_short(o, kind);
            o.push((durable as u8) << 1);
            o.extend_from_slice(&[0; 4]);
        })?;
        Ok(())
    }
    pub fn exchange_delete(&mut self, x: &str) -> io::Result<()> {
        self.rpc(1, (40, 20), (40, 21), |o| {
            o.extend_from_slice(&[0, 0]);
            put_short(o, x);
            o.push(0);
        })?;
        Ok(())
    }
    pub fn bind(&mut self, q: &str, x: &str, key: &str) -> io::Result<()> {
        self.rpc(1, (50, 20), (50, 21), |o| {
            o.extend_from_slice(&[0, 0]);
            put_short(o, q);
            put_short(o, x);
            put_short(o, key);
            o.push(0);
            o.extend_from_slice(&[0; 4]);
        })?;
        Ok(())
    }
    pub fn confirm_select(&mut self) -> io::Result<()> {
        self.rpc(1, (85, 10), (85, 11), |o| o.push(0))?;
        Ok(())
    }
    pub fn qos(&mut self, n: u16) -> io::Result<()> {
        self.rpc(1, (60, 10), (60, 11), |o| {
            o.extend_from_slice(&[0; 4]);
            o.extend_from_slice(&n.to_be_bytes());
            o.push(0);
        })?;
        Ok(())
    }
    pub fn consume(&mut self, q: &str, no_ack: bool) -> io::Result<()> {
        self.rpc(1, (60, 20), (60, 21), |o| {
            o.extend_from_slice(&[0, 0]);
            put_short(o, q);
            put_short(o, "c");
            o.push((no_ack as u8) << 1);
            o.extend_from_slice(&[0; 4]);
        })?;
        Ok(())
    }
    pub fn close(mut self) {
        let _ = self.rpc(0, (10, 50), (10, 51), |o| {
            o.extend_from_slice(&200u16.to_be_bytes());
            put_short(o, "bye");
            o.extend_from_slice(&[0; 4]);
        });
    }
}

/// The text of a connection.close or channel.close method payload.
pub fn closed(p: &[u8]) -> Option<String> {
    match (u16be(p), u16be(&p[2..])) {
        (10, 50) | (20, 40) => {
            let n = p[6] as usize;
            Some(format!(
                "server closed: {} {}",
                u16be(&p[4..]),
                String::from_utf8_lossy(&p[7..7 + n])
            ))
        }
        _ => None,
    }
}
