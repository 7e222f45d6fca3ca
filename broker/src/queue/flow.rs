//! Flow control between the publishers and the consumers of a queue: the rate that publishers may have while consumers
//! are behind.
//!
//! Publishers and consumers of a queue share the broker's processors, and where publishers are many they take most: the
//! queue grows although its consumers could be faster. So when consumers that take much are behind, publishers are
//! throttled to the consumers' rate for a trial, and for longer if consumers become faster by enough. Consumers that
//! are slow for other reasons don't become faster, and their publishers are left alone.
//!
//! Comes in: counts of messages published and handed out. Goes out: pauses before the publisher is read again.
//! Does not know about connections or clients.

use std::time::{Duration, Instant};

/// The time that is looked at together.
const WINDOW: Duration = Duration::from_millis(50);
/// Messages handed out in a second from which it is looked at all: with fewer, consumers hardly wait for the
/// processors.
const FAST: f64 = 20_000.0;
/// Work from which consumers are behind, seconds.
const BEHIND: f64 = 0.1;
/// Work that they should have instead, so that they never wait, seconds.
const TARGET: f64 = 0.04;
/// Windows in which consumers were behind before a trial, which their rate in a trial is compared with.
const BEFORE: u32 = 4;
/// Windows of a trial, and those at its end that count.
const TRIAL: u32 = 12;
const COUNTED: u32 = 4;
/// Messages that one more for consumers may cost publishers.
const PRICE: f64 = 3.0;
/// The least gain that counts, as a part of the consumers' rate.
const LEAST: f64 = 0.05;
/// The weight of one window in the rate over several.
const SHARE: f64 = 0.2;
/// The longest pause.
const LONGEST: Duration = Duration::from_millis(25);
/// Time for which publishers are throttled after a trial that was a success, before another is made.
const THROTTLED: Duration = Duration::from_secs(30);
/// Time without a trial after one that was none: twice as long after each, up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(64));

/// Flow control of one queue.
#[derive(Debug)]
pub struct ConsumerFlow {
    /// The window's begin, and the messages published and handed out until then.
    since: Instant,
    published: u64,
    taken: u64,
    mode: Mode,
    /// Messages a second that publishers may bring, while they are throttled.
    rate: f64,
    /// The messages admitted fill the time until then, at that rate.
    filled: Instant,
    not_before: Instant,
    backoff: Duration,
}

/// Messages a second that come and go.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    came: f64,
    went: f64,
}

impl Rates {
    fn combine(self, other: Self, with: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            came: with(self.came, other.came),
            went: with(self.went, other.went),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.combine(other, |a, b| a + b)
    }

    fn over(self, windows: u32) -> Self {
        self.combine(self, |a, _| a / f64::from(windows))
    }

    /// True if consumers have gained enough from `before` to now for what publishers have lost.
    fn is_worth_it(self, before: Self) -> bool {
        let gain = self.went - before.went;
        gain >= before.went * LEAST && gain * PRICE >= before.came - self.came
    }
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// Publishers go as fast as they can. With the windows in which consumers were behind, one after the other, and the
    /// sum of their rates.
    Free(u32, Rates),
    /// Publishers are throttled for a trial: the rates before, windows, sum of the rates that count.
    Trial(Rates, u32, Rates),
    /// Publishers are throttled: the rates before, the rates now over some windows, and the end.
    Throttled(Rates, Rates, Instant),
}

const FREE: Mode = Mode::Free(0, Rates { came: 0.0, went: 0.0 });

impl ConsumerFlow {
    /// Flow control of a queue that has just become long, with the counts of messages published and handed out.
    pub fn new(now: Instant, published: u64, taken: u64) -> Self {
        Self {
            since: now,
            published,
            taken,
            mode: FREE,
            rate: 0.0,
            filled: now,
            not_before: now,
            backoff: BACKOFF.0,
        }
    }

    /// True if publishers are throttled.
    pub fn throttles(&self) -> bool {
        !matches!(self.mode, Mode::Free(..))
    }

    /// Admits `count` messages that have just been published; gives the pause that their publisher should make.
    /// `published`, `taken`: messages that came in and went out so far, these included; `ready`: those that wait.
    pub fn admit(&mut self, now: Instant, count: usize, published: u64, taken: u64, ready: usize) -> Duration {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let per_second = |count: u64| count as f64 / elapsed.as_secs_f64();
            let rates = Rates {
                came: per_second(published.saturating_sub(self.published)),
                went: per_second(taken.saturating_sub(self.taken)),
            };
            (self.since, self.published, self.taken) = (now, published, taken);
            if elapsed > 4 * WINDOW {
                // Nothing was published for a while: there is nothing to go by.
                self.mode = FREE;
            } else {
                self.look(now, rates, ready as f64 / rates.went.max(1.0));
            }
        }
        if !self.throttles() {
            return Duration::ZERO;
        }
        let took = Duration::from_secs_f64(count as f64 / self.rate.max(FAST));
        self.filled = (self.filled.max(now) + took).min(now + LONGEST);
        self.filled - now
    }

    /// A window has ended, in which consumers had this much work before them, seconds.
    fn look(&mut self, now: Instant, rates: Rates, work: f64) {
        // A short queue is filled, and a long one drained, without haste.
        self.rate = rates.went * (1.5 - 0.5 * work / TARGET).clamp(0.8, 1.5);
        self.mode = match self.mode {
            Mode::Free(behind, sum) => {
                if rates.went < FAST || work < BEHIND || rates.came < rates.went || now < self.not_before {
                    FREE
                } else if behind + 1 < BEFORE {
                    Mode::Free(behind + 1, sum.plus(rates))
                } else {
                    Mode::Trial(sum.plus(rates).over(BEFORE), 0, Rates::default())
                }
            }
            Mode::Trial(before, windows, sum) if windows + 1 < TRIAL => {
                let counts = windows + COUNTED >= TRIAL;
                Mode::Trial(before, windows + 1, if counts { sum.plus(rates) } else { sum })
            }
            Mode::Trial(before, _, sum) => {
                let throttled = sum.plus(rates).over(COUNTED);
                if throttled.is_worth_it(before) {
                    self.backoff = BACKOFF.0;
                    Mode::Throttled(before, throttled, now + THROTTLED)
                } else {
                    self.give_up(now)
                }
            }
            // Consumers with little to do take everything that comes.
            Mode::Throttled(before, usual, _) if work > TARGET && !usual.is_worth_it(before) => self.give_up(now),
            Mode::Throttled(.., until) if now >= until => FREE,
            Mode::Throttled(before, usual, until) => {
                let usual = usual.combine(rates, |usual, now| usual + (now - usual) * SHARE);
                Mode::Throttled(before, usual, until)
            }
        };
    }

    fn give_up(&mut self, now: Instant) -> Mode {
        self.not_before = now + self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
        FREE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Publishers and consumers of one queue, a millisecond at a time.
    struct Load {
        flow: ConsumerFlow,
        now: Instant,
        published: u64,
        taken: u64,
        /// Milliseconds for which publishers were throttled.
        throttled: u32,
    }

    impl Load {
        fn new() -> Self {
            let now = Instant::now();
            let (published, taken, throttled) = (0, 0, 0);
            let flow = ConsumerFlow::new(now, 0, 0);
            Self {
                flow,
                now,
                published,
                taken,
                throttled,
            }
        }

        /// Publishers bring `offered` messages a millisecond while they may; consumers take
        /// as many as `can_take` says for those that came.
        fn runs(&mut self, millis: u32, offered: u64, can_take: impl Fn(u64) -> u64) -> (u64, u64) {
            let before = (self.published, self.taken);
            let mut free_at = self.now;
            for _ in 0..millis {
                self.now += Duration::from_millis(1);
                let came = if free_at <= self.now { offered } else { 0 };
                self.published += came;
                self.taken += can_take(came).min(self.published - self.taken);
                let ready = (self.published - self.taken) as usize;
                if came > 0 {
                    free_at = self.now
                        + self
                            .flow
                            .admit(self.now, came as usize, self.published, self.taken, ready);
                }
                self.throttled += u32::from(self.flow.throttles());
            }
            let per_second = |count: u64| count * 1000 / u64::from(millis);
            (per_second(self.published - before.0), per_second(self.taken - before.1))
        }
    }

    #[test]
    fn consumers_that_publishers_crowd_out_get_their_share() {
        let mut load = Load::new();
        // The rest that publishers leave of 1000 messages' worth of processor time: a message costs both the same.
        let share = |came: u64| 1000 - came.min(700);
        let (came, went) = load.runs(150, 700, share);
        assert!(came > 2 * went, "{came} {went}");
        load.runs(3000, 700, share);
        let (came, went) = load.runs(5000, 700, share);
        assert!(went > 430_000 && came.abs_diff(went) < 30_000, "{came} {went}");
        assert!(load.published - load.taken < 60_000, "the queue is short");
    }

    #[test]
    fn publishers_do_not_wait_for_consumers_that_are_slow_by_themselves() {
        for slow in [1, 15, 30, 200] {
            let mut load = Load::new();
            let (came, _) = load.runs(60_000, 700, |_| slow);
            assert!(came > 640_000, "{came} where consumers take {slow}");
            assert!(
                load.throttled < 6000,
                "throttled for {} ms where consumers take {slow}",
                load.throttled
            );
        }
    }

    #[test]
    fn the_gain_of_consumers_must_be_worth_it() {
        let mut load = Load::new();
        // They wait for answers most of the time, and get them a little sooner.
        let (came, _) = load.runs(60_000, 700, |came| 90 - came.min(700) / 20);
        assert!(came > 640_000, "{came}");
    }

    #[test]
    fn consumers_that_keep_up_change_nothing() {
        let mut load = Load::new();
        let (came, went) = load.runs(10_000, 300, |_| 310);
        assert_eq!((came, went, load.throttled), (300_000, 300_000, 0));
    }

    #[test]
    fn consumers_that_become_slow_throttle_no_publisher() {
        let mut load = Load::new();
        load.runs(3000, 700, |came| 1000 - came.min(700));
        assert!(load.flow.throttles());
        load.runs(1000, 700, |_| 50);
        assert!(!load.flow.throttles());
        let (came, _) = load.runs(20_000, 700, |_| 50);
        assert!(came > 600_000, "{came}");
    }
}
