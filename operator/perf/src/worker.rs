//! An event loop: one thread that drives many connections.
//!
//! In: connections, until the counters say stop. Out: nothing but counts and latencies. Does not know what a load is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::count::{Counters, Latest};
use super::error::Error;
use super::link::{BUFFER, Link};
use super::process::now;

/// Longest sleep of the loop, ns: after that it looks whether it was told to stop.
const LONGEST_SLEEP: u64 = 20_000_000;

/// Time by which the kernel may wake the thread later than asked, ns. Its default of 50 us would show in latencies.
const TIMER_SLACK: u64 = 1_000;

/// Events that are taken at once.
const EVENTS: usize = 256;

/// Longest time for all goodbyes.
const GOODBYE: Duration = Duration::from_secs(2);

/// A loop and its connections.
#[derive(Debug)]
pub struct Worker {
    links: Vec<Link>,
    /// Those that wait until they can be written to.
    waiting: Vec<bool>,
    /// Times at which each has something to send.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    scheduled: Vec<bool>,
    epoll: OwnedFd,
    counters: Arc<Counters>,
    latest: Arc<Latest>,
}

impl Worker {
    /// # Errors
    /// The kernel gives no epoll descriptor.
    pub fn new(links: Vec<Link>, counters: Arc<Counters>, latest: Arc<Latest>) -> Result<Worker, Error> {
        let system = |what| {
            move |error: rustix::io::Errno| Error::System {
                what,
                source: error.into(),
            }
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system("make an event loop"))?;
        for (number, link) in links.iter().enumerate() {
            epoll::add(&epoll, &link.socket, data(number), EventFlags::IN).map_err(system("watch a socket"))?;
        }
        Ok(Worker {
            waiting: vec![false; links.len()],
            scheduled: vec![false; links.len()],
            due: BinaryHeap::new(),
            links,
            epoll,
            counters,
            latest,
        })
    }

    /// Drives the connections until the counters say stop, then closes them.
    ///
    /// # Errors
    /// A connection's.
    pub fn run(mut self) -> Result<(), Error> {
        // Without it timers are less exact; nothing else changes.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK));
        let mut buffer = vec![0; BUFFER];
        for number in 0..self.links.len() {
            self.links[number].understand_rest(&self.counters, &mut self.latest.0.lock())?;
            self.write(number)?;
        }
        let mut events = Vec::with_capacity(EVENTS);
        while !self.counters.stop.load(Relaxed) {
            events.clear();
            let sleep = self.sleep();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&sleep)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(Error::System {
                        what: "wait for sockets",
                        source: error.into(),
                    });
                }
            }
            for event in &events {
                let (flags, data) = (event.flags, event.data);
                let number = data.u64() as usize;
                if flags != EventFlags::OUT {
                    self.links[number].read(&mut buffer, &self.counters, &mut self.latest.0.lock())?;
                }
                self.write(number)?;
            }
            self.write_what_is_due()?;
        }
        self.goodbye(&mut buffer);
        Ok(())
    }

    /// Lets a connection write, and watches for what it waits for then.
    fn write(&mut self, number: usize) -> Result<(), Error> {
        let waits = self.links[number].write(&self.counters)?;
        let link = &self.links[number];
        let failed = |error: rustix::io::Errno| Error::System {
            what: "watch a socket",
            source: error.into(),
        };
        if link.is_done() {
            // It stays open, unread: what the broker has sent too much goes back to the queue in the end.
            let _ = epoll::delete(&self.epoll, &link.socket);
            return Ok(());
        }
        if waits != self.waiting[number] {
            let flags = if waits {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            epoll::modify(&self.epoll, &link.socket, data(number), flags).map_err(failed)?;
            self.waiting[number] = waits;
        }
        if let Some(due) = link.due().filter(|_| !self.scheduled[number]) {
            self.scheduled[number] = true;
            self.due.push(Reverse((due, number)));
        }
        Ok(())
    }

    fn write_what_is_due(&mut self) -> Result<(), Error> {
        let now = now();
        while let Some(Reverse((due, number))) = self.due.peek().copied() {
            if due > now {
                break;
            }
            self.due.pop();
            self.scheduled[number] = false;
            self.write(number)?;
        }
        Ok(())
    }

    fn sleep(&self) -> Timespec {
        let due = self
            .due
            .peek()
            .map_or(u64::MAX, |Reverse((due, _))| due.saturating_sub(now()));
        Timespec {
            tv_sec: 0,
            tv_nsec: due.min(LONGEST_SLEEP) as _,
        }
    }

    /// All goodbyes first, then all answers: brokers take a while for each.
    fn goodbye(&mut self, buffer: &mut [u8]) {
        let start = Instant::now();
        let limit = |link: &Link| {
            let left = GOODBYE.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
            let _ = link.socket.set_write_timeout(Some(left));
            let _ = link.socket.set_read_timeout(Some(left));
        };
        let answering: Vec<bool> = self
            .links
            .iter_mut()
            .map(|link| {
                limit(link);
                link.say_goodbye()
            })
            .collect();
        for (link, _) in self.links.iter_mut().zip(answering).filter(|(_, answers)| *answers) {
            // The broker closes after its answer; deliveries may come before.
            while start.elapsed() < GOODBYE && read_on(link, buffer).is_ok() {}
        }
    }
}

fn read_on(link: &mut Link, buffer: &mut [u8]) -> io::Result<()> {
    match link.socket.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn data(number: usize) -> EventData {
    EventData::new_u64(number as u64)
}
