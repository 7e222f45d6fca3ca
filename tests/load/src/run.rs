//! The load: publishers and consumers as non-blocking connections on one or a few epoll loops.
use crate::amqp::*;
use crate::report::{Figures, Snapshot};
use crate::stat::{Hist, now_ns};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

pub struct Opts {
    pub server: Server,
    pub publishers: usize,
    pub consumers: usize,
    pub queues: usize,
    pub queue: String,
    pub queue_args: Vec<(String, String)>,
    pub durable: bool,
    pub exchange: Option<(String, String)>, // name, type: every queue is bound to it
    pub keys: Vec<String>,                  // routing keys, in turn; empty: the queue's name
    pub size: usize,
    pub persistent: bool,
    pub window: usize,  // 0: no confirms
    pub ack_every: u64, // 0: auto-ack
    pub prefetch: u16,
    pub rate: f64,     // 0: as fast as possible; total of all publishers
    pub inflight: u64, // 0: no limit on published - consumed
    pub count: u64,    // 0: for `secs`
    pub warmup: f64,
    pub secs: f64,
    pub threads: usize,
    pub batch: usize,
    pub pid: Option<u32>,
    pub declare: bool,
    pub keep: bool,
    pub label: String,
    pub json: Option<String>,
}

struct Shared {
    published: AtomicU64,
    confirmed: AtomicU64,
    nacked: AtomicU64,
    consumed: AtomicU64,
    written: AtomicU64, // write() calls of publishers
    phase: AtomicU8,    // 0 warm-up, 1 measure, 2 stop
}

impl Shared {
    fn counts(&self) -> [u64; 5] {
        [
            &self.published,
            &self.confirmed,
            &self.consumed,
            &self.nacked,
            &self.written,
        ]
        .map(|count| count.load(Relaxed))
    }
}

struct Publisher {
    tpl: Vec<u8>,            // pre-encoded messages
    at: Vec<(usize, usize)>, // start of each message, start of its body
    next: usize,
    pend: std::ops::Range<usize>,
    window: usize,
    tag: u64, // next delivery tag
    low: u64, // lowest unconfirmed
    out: usize,
    ring: Vec<u64>, // time sent by tag, 0 once confirmed
    gap: f64,       // ns between messages, 0: no rate
    start: u64,
    left: u64,
    stamp: bool,
}
struct Consumer {
    ack_every: u64,
    unacked: u64,
    body_left: u64,
    acks: Vec<u8>,
    sent: usize,
    stamp: bool,
}
enum Role {
    Pub(Publisher),
    Con(Consumer),
}
struct Conn {
    sock: TcpStream,
    buf: Vec<u8>,
    from: usize,
    to: usize,
    want_out: bool,
    role: Role,
}

fn again(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock
}

impl Publisher {
    /// Writes what may be written now; returns whether it waits for the socket.
    fn pump(&mut self, sock: &mut TcpStream, sh: &Shared, inflight: u64, fan: u64) -> io::Result<bool> {
        loop {
            if !self.pend.is_empty() {
                sh.written.fetch_add(1, Relaxed);
                match sock.write(&self.tpl[self.pend.clone()]) {
                    Ok(n) => self.pend.start += n,
                    Err(e) if again(&e) => return Ok(true),
                    Err(e) => return Err(e),
                }
                if !self.pend.is_empty() {
                    return Ok(true);
                }
                if self.window == 0 && self.gap == 0.0 && inflight == 0 && self.left > 0 {
                    return Ok(true);
                }
            }
            let mut n = (self.at.len() - 1 - self.next) as u64;
            let now = now_ns();
            if self.window > 0 {
                let span = self.ring.len() as u64 - (self.tag - self.low);
                n = n.min((self.window - self.out) as u64).min(span);
            }
            if self.gap > 0.0 {
                let due = ((now.saturating_sub(self.start)) as f64 / self.gap) as u64 + 1;
                n = n.min(due.saturating_sub(self.tag - 1));
            }
            if inflight > 0 {
                let out = (sh.published.load(Relaxed) * fan).saturating_sub(sh.consumed.load(Relaxed)) / fan;
                n = n.min(inflight.saturating_sub(out));
            }
            n = n.min(self.left);
            if n == 0 || sh.phase.load(Relaxed) == 2 {
                return Ok(false);
            }
            for i in 0..n as usize {
                // At a fixed rate a message counts from when it was due, not from when it was sent.
                let t = if self.gap > 0.0 {
                    self.start + ((self.tag - 1) as f64 * self.gap) as u64
                } else {
                    now
                };
                if self.stamp {
                    let b = self.at[self.next + i].1;
                    self.tpl[b..b + 8].copy_from_slice(&t.to_be_bytes());
                }
                if self.window > 0 {
                    let m = self.ring.len() as u64 - 1;
                    self.ring[(self.tag & m) as usize] = t;
                }
                self.tag += 1;
            }
            self.pend = self.at[self.next].0..self.at[self.next + n as usize].0;
            self.next = (self.next + n as usize) % (self.at.len() - 1);
            self.out += n as usize;
            self.left -= n;
            sh.published.fetch_add(n, Relaxed);
        }
    }

    fn settle(&mut self, tag: u64, multiple: bool, now: u64, h: &mut Option<&mut Hist>) -> u64 {
        let (m, mut n) = (self.ring.len() as u64 - 1, 0);
        let mut one = |t: u64, ring: &mut Vec<u64>| {
            let r = &mut ring[(t & m) as usize];
            if *r != 0 {
                if let Some(h) = h {
                    h.add(now.saturating_sub(*r));
                }
                *r = 0;
                n += 1;
            }
        };
        if multiple {
            let hi = if tag == 0 { self.tag - 1 } else { tag };
            for t in self.low..=hi {
                one(t, &mut self.ring);
            }
        } else {
            one(tag, &mut self.ring);
        }
        while self.low < self.tag && self.ring[(self.low & m) as usize] == 0 {
            self.low += 1;
        }
        self.out -= n as usize;
        n
    }
}

impl Conn {
    fn read(&mut self, sh: &Shared, deliver: &mut Hist, confirm: &mut Hist) -> io::Result<()> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.buf.len() - self.to < 65536 {
            self.buf.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        match self.sock.read(&mut self.buf[self.to..]) {
            Ok(0) => return Err(io::Error::other("connection closed by the server")),
            Ok(n) => self.to += n,
            Err(e) if again(&e) => return Ok(()),
            Err(e) => return Err(e),
        }
        self.parse(sh, deliver, confirm)
    }

    fn parse(&mut self, sh: &Shared, deliver: &mut Hist, confirm: &mut Hist) -> io::Result<()> {
        let now = now_ns();
        let measure = sh.phase.load(Relaxed) == 1;
        let mut conf = if measure { Some(confirm) } else { None };
        let (mut got, mut ok, mut nok, mut ack) = (0, 0, 0, 0);
        loop {
            let b = &self.buf[self.from..self.to];
            if b.len() < 8 {
                break;
            }
            let n = u32be(&b[3..]) as usize;
            if b.len() < n + 8 {
                break;
            }
            let (kind, p) = (b[0], &b[7..7 + n]);
            match (&mut self.role, kind) {
                (Role::Con(c), BODY) => {
                    // the first body frame carries the stamp
                    if c.stamp && measure && n >= 8 && c.body_left & 1 << 63 != 0 {
                        deliver.add(now.saturating_sub(u64be(p)));
                    }
                    c.body_left = (c.body_left & !(1 << 63)).saturating_sub(n as u64);
                }
                (Role::Con(c), HEADER) => c.body_left = u64be(&p[4..]) | 1 << 63,
                (Role::Con(c), METHOD) if p[..4] == [0, 60, 0, 60] => {
                    got += 1;
                    if c.ack_every > 0 {
                        c.unacked += 1;
                        if c.unacked >= c.ack_every {
                            c.unacked = 0;
                            ack = u64be(&p[5 + p[4] as usize..]);
                            method(&mut c.acks, 1, (60, 80), |o| {
                                o.extend_from_slice(&ack.to_be_bytes());
                                o.push(1);
                            });
                        }
                    }
                }
                (Role::Pub(q), METHOD) if p[1] == 60 && (p[3] == 80 || p[3] == 120) => {
                    let k = q.settle(u64be(&p[4..]), p[12] & 1 == 1, now, &mut conf);
                    if p[3] == 80 { ok += k } else { nok += k }
                }
                (_, METHOD) => {
                    if let Some(s) = closed(p) {
                        return Err(io::Error::other(s));
                    }
                    if p[..4] == [0, 60, 0, 30] {
                        return Err(io::Error::other("consumer cancelled by the server"));
                    }
                }
                _ => {}
            }
            self.from += n + 8;
        }
        let _ = ack;
        for (c, n) in [(&sh.consumed, got), (&sh.confirmed, ok), (&sh.nacked, nok)] {
            if n > 0 {
                c.fetch_add(n, Relaxed);
            }
        }
        Ok(())
    }

    /// Sends what is to be sent; returns whether it waits for the socket.
    fn flush(&mut self, sh: &Shared, inflight: u64, fan: u64) -> io::Result<bool> {
        match &mut self.role {
            Role::Pub(p) => p.pump(&mut self.sock, sh, inflight, fan),
            Role::Con(c) => {
                while c.sent < c.acks.len() {
                    match self.sock.write(&c.acks[c.sent..]) {
                        Ok(n) => c.sent += n,
                        Err(e) if again(&e) => return Ok(true),
                        Err(e) => return Err(e),
                    }
                }
                c.acks.clear();
                c.sent = 0;
                Ok(false)
            }
        }
    }
}

fn event_loop(mut conns: Vec<Conn>, sh: &Shared, inflight: u64, fan: u64) -> io::Result<(Hist, Hist)> {
    let (mut deliver, mut confirm) = (Hist::new(), Hist::new());
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000) };
    let ep = unsafe { libc::epoll_create1(0) };
    let ctl = |op, c: &Conn, i: usize| {
        let bits = libc::EPOLLIN | if c.want_out { libc::EPOLLOUT } else { 0 };
        let mut e = libc::epoll_event {
            events: bits as u32,
            u64: i as u64,
        };
        unsafe { libc::epoll_ctl(ep, op, c.sock.as_raw_fd(), &mut e) };
    };
    let mut timed = false; // some publisher waits for time or for consumers, not for its socket
    let t0 = now_ns();
    for (i, c) in conns.iter_mut().enumerate() {
        c.sock.set_nonblocking(true)?;
        if let Role::Pub(p) = &mut c.role {
            p.start = t0
                + if p.gap > 0.0 {
                    (p.gap * i as f64 / 8.0) as u64
                } else {
                    0
                };
            timed |= p.gap > 0.0 || inflight > 0;
        }
        ctl(libc::EPOLL_CTL_ADD, c, i);
        c.parse(sh, &mut deliver, &mut confirm)?;
        let w = c.flush(sh, inflight, fan)?;
        if w != c.want_out {
            c.want_out = w;
            ctl(libc::EPOLL_CTL_MOD, c, i);
        }
    }
    let mut ev: Vec<libc::epoll_event> = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    while sh.phase.load(Relaxed) < 2 {
        let mut ns = if inflight > 0 { 200_000 } else { 50_000_000 };
        if timed {
            let now = now_ns();
            for c in &conns {
                if let Role::Pub(p) = &c.role {
                    if p.gap > 0.0 && !c.want_out && (p.window == 0 || p.out < p.window) {
                        ns = ns.min((p.start + ((p.tag - 1) as f64 * p.gap) as u64).saturating_sub(now) as i64);
                    }
                }
            }
        }
        let ts = libc::timespec { tv_sec: 0, tv_nsec: ns };
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                ep,
                ev.as_mut_ptr(),
                ev.len() as i32,
                &ts,
                std::ptr::null::<u8>(),
                8usize,
            )
        };
        for e in &ev[..n.max(0) as usize] {
            let (bits, i) = (e.events, e.u64 as usize);
            let c = &mut conns[i];
            if bits & !(libc::EPOLLOUT as u32) != 0 {
                c.read(sh, &mut deliver, &mut confirm)?;
            }
            let w = c.flush(sh, inflight, fan)?;
            if w != c.want_out {
                c.want_out = w;
                ctl(libc::EPOLL_CTL_MOD, c, i);
            }
        }
        if timed {
            for (i, c) in conns.iter_mut().enumerate() {
                if matches!(c.role, Role::Pub(_)) && !c.want_out && c.flush(sh, inflight, fan)? {
                    c.want_out = true;
                    ctl(libc::EPOLL_CTL_MOD, c, i);
                }
            }
        }
    }
    unsafe { libc::close(ep) };
    Ok((deliver, confirm))
}

pub fn run(o: Opts) -> io::Result<()> {
    let mut ctl = Client::open_retry(&o.server, 10.0)?;
    let qname = |i: usize| {
        if o.queues == 1 {
            o.queue.clone()
        } else {
            format!("{}-{}", o.queue, i)
        }
    };
    if o.declare {
        if let Some((x, kind)) = &o.exchange {
            ctl.exchange_declare(x, kind, o.durable)?;
        }
        for i in 0..o.queues {
            ctl.queue_declare(&qname(i), o.durable, false, &o.queue_args)?;
            if let Some((x, _)) = &o.exchange {
                ctl.bind(&qname(i), x, &qname(i))?;
            }
        }
    }
    let stamp = o.size >= 8;
    let fan = match &o.exchange {
        Some((_, k)) if k == "fanout" => o.queues as u64,
        _ => 1,
    };
    let mut groups: Vec<Vec<Conn>> = (0..o.threads.max(1)).map(|_| Vec::new()).collect();
    let (g, mut k) = (groups.len(), 0);
    let new = |c: Client, role: Role| {
        let mut buf = c.rbuf;
        let to = buf.len();
        buf.resize(262144, 0);
        Conn {
            sock: c.sock,
            buf,
            from: 0,
            to,
            want_out: false,
            role,
        }
    };
    for i in 0..o.consumers {
        let mut c = Client::open(&o.server)?;
        if o.ack_every > 0 && o.prefetch > 0 {
            c.qos(o.prefetch)?;
        }
        c.consume(&qname(i % o.queues), o.ack_every == 0)?;
        let role = Consumer {
            ack_every: o.ack_every,
            unacked: 0,
            body_left: 0,
            acks: vec![],
            sent: 0,
            stamp,
        };
        // two loops: publishers on the one, consumers on the other; else in turn
        groups[if g == 2 { 1 } else { k % g }].push(new(c, Role::Con(role)));
        k += 1;
    }
    for i in 0..o.publishers {
        let mut c = Client::open(&o.server)?;
        if o.window > 0 {
            c.confirm_select()?;
        }
        let (mut tpl, mut at) = (Vec::new(), Vec::new());
        let x = o.exchange.as_ref().map_or("", |x| x.0.as_str());
        let mut j = i * 7919; // publishers start at different keys
        while at.is_empty() || tpl.len() < o.batch || at.len() < o.keys.len().min(2000) {
            let q = qname(i % o.queues);
            let key = if o.keys.is_empty() {
                &q
            } else {
                &o.keys[j % o.keys.len()]
            };
            let s = tpl.len();
            let body = publish(&mut tpl, x, key, o.persistent, o.size, c.frame_max);
            at.push((s, body));
            j += 1;
        }
        at.push((tpl.len(), 0));
        let ring = (o.window * 4).next_power_of_two().max(1024);
        let left = if o.count == 0 {
            u64::MAX
        } else {
            o.count / o.publishers as u64
        };
        let p = Publisher {
            tpl,
            at,
            next: 0,
            pend: 0..0,
            window: o.window,
            tag: 1,
            low: 1,
            out: 0,
            ring: vec![0; ring],
            gap: if o.rate > 0.0 {
                1e9 * o.publishers as f64 / o.rate
            } else {
                0.0
            },
            start: 0,
            left,
            stamp,
        };
        groups[if g == 2 { 0 } else { k % g }].push(new(c, Role::Pub(p)));
        k += 1;
    }
    let sh = Arc::new(Shared {
        published: 0.into(),
        confirmed: 0.into(),
        nacked: 0.into(),
        consumed: 0.into(),
        written: 0.into(),
        phase: 0.into(),
    });
    let inflight = o.inflight;
    let start = Snapshot::take(sh.counts(), o.pid);
    let threads: Vec<_> = groups
        .into_iter()
        .map(|c| {
            let sh = sh.clone();
            std::thread::spawn(move || match event_loop(c, &sh, inflight, fan) {
                Ok(h) => h,
                Err(e) => {
                    eprintln!("load: {e}");
                    std::process::exit(2)
                }
            })
        })
        .collect();
    let sleep = |s: f64| std::thread::sleep(std::time::Duration::from_secs_f64(s));
    let a = if o.count == 0 {
        sleep(o.warmup);
        let a = Snapshot::take(sh.counts(), o.pid);
        sh.phase.store(1, Relaxed);
        sleep(o.secs);
        a
    } else {
        sh.phase.store(1, Relaxed);
        let want = o.count / o.publishers as u64 * o.publishers as u64;
        let t = now_ns();
        loop {
            let done = if o.window > 0 {
                sh.confirmed.load(Relaxed)
            } else {
                sh.published.load(Relaxed)
            };
            if done >= want && (o.consumers == 0 || sh.consumed.load(Relaxed) >= want * fan) {
                break;
            }
            if (now_ns() - t) as f64 / 1e9 > o.secs {
                eprintln!("load: count not reached in {} s", o.secs);
                break;
            }
            sleep(0.002);
        }
        start
    };
    let b = Snapshot::take(sh.counts(), o.pid);
    sh.phase.store(2, Relaxed);
    let (mut dl, mut cf) = (Hist::new(), Hist::new());
    for t in threads {
        let (d, c) = t.join().unwrap();
        dl.merge(&d);
        cf.merge(&c);
    }
    let figures = Figures::between(&a, &b, &o, fan, [&dl, &cf]);
    figures.print(&o.label);
    if let Some(file) = &o.json {
        figures.append(&o.label, file)?;
    }
    if !o.keep && o.declare {
        for i in 0..o.queues {
            ctl.queue_delete(&qname(i))?;
        }
        if let Some((x, _)) = &o.exchange {
            ctl.exchange_delete(x)?;
        }
    }
    ctl.close();
    Ok(())
}
