//! The least a broker could do: takes publishes and confirms them, or streams deliveries, with the same framing.
use crate::amqp::*;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

pub fn sink(port: u16, size: usize) -> io::Result<()> {
    for s in TcpListener::bind(("127.0.0.1", port))?.incoming() {
        let s = s?;
        std::thread::spawn(move || {
            let _ = serve(s, size);
        });
    }
    Ok(())
}

fn serve(mut s: TcpStream, size: usize) -> io::Result<()> {
    s.set_nodelay(true)?;
    let mut hello = [0; 8];
    s.read_exact(&mut hello)?;
    let mut o = Vec::new();
    method(&mut o, 0, (10, 10), |o| {
        o.extend_from_slice(&[0, 9, 0, 0, 0, 0]);
        put_long(o, b"PLAIN");
        put_long(o, b"en_US");
    });
    let (mut buf, mut from, mut to, mut tag, mut confirm) = (vec![0u8; 262144], 0, 0, 0u64, false);
    let mut blast = false;
    loop {
        s.write_all(&o)?;
        o.clear();
        if blast {
            break;
        }
        if from == to {
            (from, to) = (0, 0);
        } else if buf.len() - to < 65536 {
            buf.copy_within(from..to, 0);
            (from, to) = (0, to - from);
        }
        let n = s.read(&mut buf[to..])?;
        if n == 0 {
            return Ok(());
        }
        to += n;
        let before = tag;
        loop {
            let b = &buf[from..to];
            if b.len() < 8 {
                break;
            }
            let n = u32be(&b[3..]) as usize;
            if b.len() < n + 8 {
                break;
            }
            let p = &b[7..7 + n];
            if b[0] == METHOD {
                let ch = u16be(&b[1..]);
                match (u16be(p), u16be(&p[2..])) {
                    (60, 40) => tag += 1,
                    (10, 11) => method(&mut o, 0, (10, 30), |o| {
                        o.extend_from_slice(&[7, 255, 0, 2, 0, 0, 0, 0])
                    }),
                    (10, 40) => method(&mut o, 0, (10, 41), |o| o.push(0)),
                    (20, 10) => method(&mut o, ch, (20, 11), |o| o.extend_from_slice(&[0; 4])),
                    (50, 10) => method(&mut o, ch, (50, 11), |o| {
                        put_short(o, "q");
                        o.extend_from_slice(&[0; 8]);
                    }),
                    (50, 40) => method(&mut o, ch, (50, 41), |o| o.extend_from_slice(&[0; 4])),
                    (60, 20) => {
                        method(&mut o, ch, (60, 21), |o| put_short(o, "c"));
                        blast = true;
                    }
                    (85, 10) => {
                        confirm = true;
                        method(&mut o, ch, (85, 11), |_| ())
                    }
                    (c, m) if [(40, 10), (40, 20), (50, 20), (60, 10), (10, 50)].contains(&(c, m)) => {
                        method(&mut o, ch, (c, m + 1), |_| ())
                    }
                    _ => {}
                }
            }
            from += n + 8;
        }
        if confirm && tag > before {
            method(&mut o, 1, (60, 80), |o| {
                o.extend_from_slice(&tag.to_be_bytes());
                o.push(1);
            });
        }
    }
    // a consumer: the same deliveries for ever
    let mut one = Vec::new();
    while one.len() < 65536 {
        method(&mut one, 1, (60, 60), |o| {
            put_short(o, "c");
            o.extend_from_slice(&1u64.to_be_bytes());
            o.push(0);
            put_short(o, "");
            put_short(o, "bench");
        });
        content(&mut one, false, size, 131072);
    }
    loop {
        s.write_all(&one)?;
    }
}

/// Raw loopback TCP: 64 KiB writes to a reader that throws them away.
pub fn tcp(secs: f64) -> io::Result<()> {
    let l = TcpListener::bind("127.0.0.1:0")?;
    let mut c = TcpStream::connect(l.local_addr()?)?;
    let (mut s, _) = l.accept()?;
    let t = std::time::Instant::now();
    let c0 = crate::stat::own_cpu();
    let r = std::thread::spawn(move || {
        let (mut b, mut n) = (vec![0u8; 262144], 0u64);
        while let Ok(k) = s.read(&mut b) {
            if k == 0 {
                break;
            }
            n += k as u64;
        }
        n
    });
    let b = vec![7u8; 65536];
    while t.elapsed().as_secs_f64() < secs {
        c.write_all(&b)?;
    }
    drop(c);
    let n = r.join().unwrap() as f64;
    let dt = t.elapsed().as_secs_f64();
    println!(
        "tcp loopback 64 KiB writes: {:.0} MB/s, {:.2} cores",
        n / dt / 1e6,
        (crate::stat::own_cpu() - c0) / dt
    );
    Ok(())
}
