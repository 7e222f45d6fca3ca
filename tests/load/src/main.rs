//! load: a cheap load generator and a set of small measurements for AMQP 0-9-1 brokers. See README.md.
mod amqp;
mod disk;
mod report;
mod run;
mod sink;
mod stat;
use amqp::{Client, Server};
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

struct Args(HashMap<String, Vec<String>>);
impl Args {
    fn opt(&self, k: &str) -> Option<&str> {
        self.0.get(k).and_then(|v| v.last()).map(|s| s.as_str())
    }
    fn num<T: std::str::FromStr>(&self, k: &str, d: T) -> T {
        match self.opt(k) {
            None => d,
            Some(s) => s.parse().unwrap_or_else(|_| die(&format!("--{k}: not a number: {s}"))),
        }
    }
    fn has(&self, k: &str) -> bool {
        self.0.contains_key(k)
    }
    fn server(&self) -> Server {
        let s = |k, d: &str| self.opt(k).unwrap_or(d).to_string();
        Server {
            addr: s("addr", "127.0.0.1:5672"),
            user: s("user", "guest"),
            pass: s("pass", "guest"),
            vhost: s("vhost", "/"),
        }
    }
    fn queue_args(&self) -> Vec<(String, String)> {
        let mut t: Vec<_> = self
            .0
            .get("queue-arg")
            .into_iter()
            .flatten()
            .filter_map(|s| s.split_once('='))
            .map(|(a, b)| (a.into(), b.into()))
            .collect();
        if let Some(q) = self.opt("queue-type") {
            t.push(("x-queue-type".into(), q.into()));
        }
        t
    }
}

fn die(s: &str) -> ! {
    eprintln!("load: {s}");
    std::process::exit(2)
}

const FLAGS: [&str; 5] = ["durable", "persistent", "no-declare", "keep", "delete"];

fn mem(a: &Args, what: &str) -> u64 {
    let Some((r, anon, hwm)) = a.opt("pid").and_then(|p| p.parse().ok()).and_then(stat::rss) else {
        return 0;
    };
    println!("rss {what}: {r} KiB (anon {anon}, peak {hwm})");
    r
}

fn topic_key(i: usize) -> String {
    // 10,000 distinct patterns of three to five words with * and #, in a fixed mix
    let (a, b, c) = (i % 100, i / 100 % 100, i / 10000);
    match i % 4 {
        0 => format!("s{a}.*.k{b}.v{c}"),
        1 => format!("s{a}.k{b}.v{c}.#"),
        2 => format!("*.s{a}.k{b}.v{c}"),
        _ => format!("s{a}.#.k{b}.v{c}"),
    }
}
/// A routing key that exactly matches pattern i (and now and then others).
fn topic_hit(i: usize) -> String {
    let (a, b, c) = (i % 100, i / 100 % 100, i / 10000);
    match i % 4 {
        0 => format!("s{a}.x{}.k{b}.v{c}", i % 7),
        1 => format!("s{a}.k{b}.v{c}.e{}", i % 7),
        2 => format!("y{}.s{a}.k{b}.v{c}", i % 7),
        _ => format!("s{a}.m{}.n.k{b}.v{c}", i % 7),
    }
}

fn main() -> io::Result<()> {
    let mut it = std::env::args().skip(1);
    let Some(cmd) = it.next() else {
        die("give a command: run declare delete conns bind depth sink tcp disk (README.md)")
    };
    let (mut m, mut rest) = (HashMap::<String, Vec<String>>::new(), Vec::new());
    while let Some(s) = it.next() {
        match s.strip_prefix("--") {
            Some(k) if FLAGS.contains(&k) => m.entry(k.into()).or_default().push("1".into()),
            Some(k) => {
                let v = it.next().unwrap_or_else(|| die(&format!("--{k} wants a value")));
                m.entry(k.into()).or_default().push(v)
            }
            None => rest.push(s),
        }
    }
    let a = Args(m);
    let n: usize = rest.first().and_then(|s| s.parse().ok()).unwrap_or(1000);
    let pid = a.opt("pid").and_then(|p| p.parse().ok());
    let cpu = || pid.and_then(stat::cpu).map_or(0.0, |c| c.0 + c.1);
    let name = a.opt("queue").unwrap_or("bench").to_string();
    let settle = || std::thread::sleep(Duration::from_secs_f64(a.num("settle", 3.0)));
    match cmd.as_str() {
        "run" => run::run(run::Opts {
            server: a.server(),
            publishers: a.num("publishers", 1),
            consumers: a.num("consumers", 1),
            queues: a.num("queues", 1),
            queue: name,
            queue_args: a.queue_args(),
            durable: a.has("durable"),
            exchange: a.opt("exchange").map(|s| {
                s.split_once(':')
                    .map_or((s.into(), "direct".into()), |(x, k)| (x.into(), k.into()))
            }),
            keys: (0..a.num("topic-keys", 0)).map(topic_hit).collect(),
            size: a.num("size", 16),
            persistent: a.has("persistent"),
            window: a.num("confirm", 0),
            ack_every: a.num("ack", 0),
            prefetch: a.num("prefetch", 500),
            rate: a.num("rate", 0.0),
            inflight: a.num("inflight", 0),
            count: a.num("count", 0),
            warmup: a.num("warmup", 5.0),
            secs: a.num("secs", 20.0),
            threads: a.num("threads", 2),
            batch: a.num("batch-bytes", 65536),
            pid,
            declare: !a.has("no-declare"),
            keep: a.has("keep"),
            label: a.opt("label").unwrap_or("run").into(),
            json: a.opt("json").map(Into::into),
        }),
        // N queues one after the other over one channel
        "declare" | "delete" => {
            let mut c = Client::open(&a.server())?;
            let before = mem(&a, "before");
            let (t, c0, args) = (Instant::now(), cpu(), a.queue_args());
            let (mut last, mut lt) = (0, Instant::now());
            for i in 0..n {
                if cmd == "declare" {
                    c.queue_declare(&format!("{name}-{i}"), a.has("durable"), false, &args)?;
                } else {
                    c.queue_delete(&format!("{name}-{i}"))?;
                }
                if lt.elapsed().as_secs_f64() >= 30.0 {
                    println!(
                        "  {} so far, {:.0}/s now",
                        i + 1,
                        (i + 1 - last) as f64 / lt.elapsed().as_secs_f64()
                    );
                    (last, lt) = (i + 1, Instant::now());
                }
                if t.elapsed().as_secs_f64() > a.num("secs", 1e9) {
                    die(&format!("stopped after {} in {} s", i + 1, a.num("secs", 0.0)));
                }
            }
            let (dt, dc) = (t.elapsed().as_secs_f64(), cpu() - c0);
            println!(
                "{cmd} {n} queues: {dt:.2} s, {:.0}/s, broker cpu {:.1} us each",
                n as f64 / dt,
                dc / n as f64 * 1e6
            );
            settle();
            let after = mem(&a, "after");
            println!("rss per queue: {:.2} KiB", (after as f64 - before as f64) / n as f64);
            c.close();
            Ok(())
        }
        // N idle connections with one channel each
        "conns" => {
            let before = mem(&a, "before");
            let (t, c0) = (Instant::now(), cpu());
            let v: Vec<Client> = (0..n).map(|_| Client::open(&a.server())).collect::<io::Result<_>>()?;
            let (dt, dc) = (t.elapsed().as_secs_f64(), cpu() - c0);
            println!(
                "{n} connections + channels: {dt:.2} s, {:.0}/s, broker cpu {:.0} us each",
                n as f64 / dt,
                dc / n as f64 * 1e6
            );
            settle();
            let after = mem(&a, "with them open");
            println!(
                "rss per connection: {:.2} KiB",
                (after as f64 - before as f64) / n as f64
            );
            let c1 = cpu();
            std::thread::sleep(Duration::from_secs_f64(a.num("hold", 5.0)));
            println!(
                "idle broker cpu with them: {:.2} %",
                (cpu() - c1) / a.num("hold", 5.0) * 100.0
            );
            v.into_iter().for_each(Client::close);
            Ok(())
        }
        // N wildcard bindings of a topic exchange, in turn to --queues queues
        "bind" => {
            let mut c = Client::open(&a.server())?;
            let (x, qs) = (a.opt("exchange").unwrap_or("topics").to_string(), a.num("queues", 1));
            c.exchange_declare(&x, "topic", a.has("durable"))?;
            for q in 0..qs {
                let q = if qs == 1 { name.clone() } else { format!("{name}-{q}") };
                c.queue_declare(&q, a.has("durable"), false, &a.queue_args())?;
            }
            let before = mem(&a, "before");
            let (t, c0) = (Instant::now(), cpu());
            for i in 0..n {
                let q = if qs == 1 {
                    name.clone()
                } else {
                    format!("{name}-{}", i % qs)
                };
                c.bind(&q, &x, &topic_key(i))?;
            }
            let (dt, dc) = (t.elapsed().as_secs_f64(), cpu() - c0);
            println!(
                "bind {n}: {dt:.2} s, {:.0}/s, broker cpu {:.1} us each",
                n as f64 / dt,
                dc / n as f64 * 1e6
            );
            settle();
            let after = mem(&a, "after");
            println!("rss per binding: {:.2} KiB", (after as f64 - before as f64) / n as f64);
            c.close();
            Ok(())
        }
        // waits until the server answers, and prints the queue's depth
        "depth" => {
            let t = Instant::now();
            loop {
                let r = Client::open_retry(&a.server(), a.num("secs", 600.0))
                    .and_then(|mut c| c.queue_declare(&name, false, true, &[]));
                match r {
                    Ok(d) => {
                        println!(
                            "{name}: {d} messages, answered after {:.3} s",
                            t.elapsed().as_secs_f64()
                        );
                        return Ok(());
                    }
                    Err(e) if t.elapsed().as_secs_f64() > a.num("secs", 600.0) => return Err(e),
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        }
        "sink" => sink::sink(a.num("port", 5672), a.num("size", 16)),
        "tcp" => sink::tcp(a.num("secs", 5.0)),
        "disk" => disk::disk(a.opt("dir").unwrap_or("."), a.num("secs", 3.0)),
        _ => die(&format!("no such command: {cmd}")),
    }
}
