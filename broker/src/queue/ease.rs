//! How fast publishers may go while consumers are behind.
//!
//! Publishers and consumers of a queue share the broker's processors, and where publishers are many they take most: the queue grows
//! although its consumers could be faster. So when consumers that take much are behind, publishers are held to the consumers' rate for a
//! trial, and for longer if consumers are faster for it by enough. Consumers that are slow for reasons of their own don't become faster, and
//! their publishers are left alone.
//!
//! Comes in: what was published and handed out so far. Goes out: how long a publisher should wait before it is read again.
//! Does not know about connections or clients.

use std::time::{Duration, Instant};

/// What is looked at together.
const WINDOW: Duration = Duration::from_millis(50);
/// Messages handed out in a second from which it is looked at all: with fewer the processors are hardly what consumers wait for.
const FAST: f64 = 20_000.0;
/// Consumers that have so much before them are behind, seconds.
const BEHIND: f64 = 0.1;
/// What they are to have before them instead, so that they never wait, seconds.
const TARGET: f64 = 0.04;
/// Windows in which consumers were behind before a trial, which their rate in a trial is compared with.
const BEFORE: u32 = 4;
/// Windows of a trial, and those at its end that count.
const TRIAL: u32 = 12;
const COUNTED: u32 = 4;
/// A message more for consumers may cost publishers so many.
const PRICE: f64 = 3.0;
/// Less than this is no gain, as a part of the consumers' rate.
const LEAST: f64 = 0.05;
/// How much a window says of the rate over some.
const SHARE: f64 = 0.2;
/// A publisher waits no longer than this at a time.
const LONGEST: Duration = Duration::from_millis(25);
/// For so long publishers are held after a trial that was a success, before another is made.
const HELD: Duration = Duration::from_secs(30);
/// For so long nothing is tried after one that was none: twice as long after each, up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(64));

/// Follows one queue.
#[derive(Debug)]
pub struct Ease {
    /// The window's begin, and what was published and handed out until then.
    since: Instant,
    published: u64,
    taken: u64,
    mode: Mode,
    /// Messages a second that publishers may bring, while they are held.
    rate: f64,
    /// What was admitted fills the time until then, at that rate.
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

    /// Whether consumers have gained from `before` to now what publishers have paid for.
    fn is_worth_it(self, before: Self) -> bool {
        let gain = self.went - before.went;
        gain >= before.went * LEAST && gain * PRICE >= before.came - self.came
    }
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// As fast as they can. With the windows in which consumers were behind, one after the other, and the sum of their rates.
    Free(u32, Rates),
    /// Held, to see what comes of it: the rates before, windows, sum of the rates that count.
    Trial(Rates, u32, Rates),
    /// Held: the rates before, the rates now over some windows, and until when.
    Held(Rates, Rates, Instant),
}

const FREE: Mode = Mode::Free(0, Rates { came: 0.0, went: 0.0 });

impl Ease {
    /// For a queue that has just become long, after so many messages in and out.
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

    /// Whether publishers are held.
    pub fn holds(&self) -> bool {
        !matches!(self.mode, Mode::Free(..))
    }

    /// Admits `count` messages that have just been published; gives the time that their publisher should wait. `published`, `taken`:
    /// messages that came in and went out so far, these included; `ready`: those that wait.
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
                // Nobody published for a while: there is nothing to go by.
                self.mode = FREE;
            } else {
                self.look(now, rates, ready as f64 / rates.went.max(1.0));
            }
        }
        if !self.holds() {
            return Duration::ZERO;
        }
        let took = Duration::from_secs_f64(count as f64 / self.rate.max(FAST));
        self.filled = (self.filled.max(now) + took).min(now + LONGEST);
        self.filled - now
    }

    /// A window has ended, in which consumers had work for so many seconds before them.
    fn look(&mut self, now: Instant, rates: Rates, work: f64) {
        // What is short is filled, and what is long drained, without haste.
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
                let held = sum.plus(rates).over(COUNTED);
                if held.is_worth_it(before) {
                    self.backoff = BACKOFF.0;
                    Mode::Held(before, held, now + HELD)
                } else {
                    self.give_up(now)
                }
            }
            // Where they have little to do, they take what comes.
            Mode::Held(before, usual, _) if work > TARGET && !usual.is_worth_it(before) => self.give_up(now),
            Mode::Held(.., until) if now >= until => FREE,
            Mode::Held(before, usual, until) => {
                let usual = usual.combine(rates, |usual, now| usual + (now - usual) * SHARE);
                Mode::Held(before, usual, until)
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
        ease: Ease,
        now: Instant,
        published: u64,
        taken: u64,
        /// Milliseconds that publishers were held.
        held: u32,
    }

    impl Load {
        fn new() -> Self {
            let now = Instant::now();
            let (published, taken, held) = (0, 0, 0);
            let ease = Ease::new(now, 0, 0);
            Self {
                ease,
                now,
                published,
                taken,
                held,
            }
        }

        /// Publishers bring `offered` messages a millisecond while they may; consumers take what `can_take` says when so many came.
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
                            .ease
                            .admit(self.now, came as usize, self.published, self.taken, ready);
                }
                self.held += u32::from(self.ease.holds());
            }
            let per_second = |count: u64| count * 1000 / u64::from(millis);
            (per_second(self.published - before.0), per_second(self.taken - before.1))
        }
    }

    #[test]
    fn consumers_that_publishers_hold_up_get_their_share() {
        let mut load = Load::new();
        // What publishers leave of 1000 messages' worth of processor time: a message costs both the same.
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
                load.held < 6000,
                "held for {} ms where consumers take {slow}",
                load.held
            );
        }
    }

    #[test]
    fn what_consumers_gain_must_be_worth_it() {
        let mut load = Load::new();
        // They wait for answers most of the time, and get them a little sooner.
        let (came, _) = load.runs(60_000, 700, |came| 90 - came.min(700) / 20);
        assert!(came > 640_000, "{came}");
    }

    #[test]
    fn consumers_that_keep_up_change_nothing() {
        let mut load = Load::new();
        let (came, went) = load.runs(10_000, 300, |_| 310);
        assert_eq!((came, went, load.held), (300_000, 300_000, 0));
    }

    #[test]
    fn consumers_that_become_slow_hold_nobody_up() {
        let mut load = Load::new();
        load.runs(3000, 700, |came| 1000 - came.min(700));
        assert!(load.ease.holds());
        load.runs(1000, 700, |_| 50);
        assert!(!load.ease.holds());
        let (came, _) = load.runs(20_000, 700, |_| 50);
        assert!(came > 600_000, "{came}");
    }
}
