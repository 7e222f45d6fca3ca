//! (pure) One operator for a Broker: whose it is, and when another may take it over.
//!
//! In: what stands in the Broker's status, and time. Out: the claim to write, and when to look again.
//! Does not know about a Kubernetes client, or what a Broker is.
//!
//! The holder writes nothing while nobody else asks. Another operator that sees the Broker asks (`asked` grows), and
//! the holder answers (`answered` follows). A question without an answer means that the holder is gone.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// `status.operator` of a Broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Claim {
    /// The operator that keeps the Broker.
    pub(super) name: String,
    /// Another one that would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) contender: Option<String>,
    pub(super) asked: u64,
    pub(super) answered: u64,
}

impl Claim {
    pub(super) fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// One Broker's contest as this process has seen it: clocks of machines may differ, so only time measured here counts.
#[derive(Debug, Default)]
pub(super) struct Contest {
    seen: Option<(Claim, Instant)>,
}

/// A move about a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Write(Claim),
    /// Nothing before that time, unless the claim changes.
    Wait(Option<Instant>),
}

impl Contest {
    /// The next move of `me`. After `patience` without an answer the holder is taken for gone; so long, too, is the
    /// pause between two questions.
    pub(super) fn next(&mut self, claim: Option<&Claim>, me: &str, now: Instant, patience: Duration) -> Move {
        let Some(claim) = claim else {
            return Move::Write(Claim::of(me));
        };
        let since = match &self.seen {
            Some((seen, since)) if seen == claim => *since,
            _ => now,
        };
        self.seen = Some((claim.clone(), since));
        let is_answered = claim.asked == claim.answered;
        if claim.name == me {
            return match claim.contender {
                Some(_) if !is_answered => Move::Write(Claim {
                    answered: claim.asked,
                    ..claim.clone()
                }),
                // It asks no more.
                Some(_) => after(since + patience * 3, now, Claim::of(me)),
                None => Move::Wait(None),
            };
        }
        let ask = Claim {
            contender: Some(me.to_owned()),
            asked: claim.asked + 1,
            ..claim.clone()
        };
        match &claim.contender {
            Some(contender) if contender == me && !is_answered => after(since + patience, now, Claim::of(me)),
            // A third one asks: after its turn.
            Some(contender) if contender != me && !is_answered => after(since + patience * 2, now, ask),
            Some(_) => after(since + patience, now, ask),
            None => Move::Write(ask),
        }
    }
}

fn after(due: Instant, now: Instant, claim: Claim) -> Move {
    if now >= due {
        Move::Write(claim)
    } else {
        Move::Wait(Some(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Some operators and one Broker; time goes in seconds.
    struct Play {
        claim: Option<Claim>,
        players: Vec<(&'static str, bool, Contest)>,
        now: Instant,
        writes: usize,
    }

    impl Play {
        fn new(names: &[&'static str]) -> Self {
            Self {
                claim: None,
                players: names.iter().map(|name| (*name, true, Contest::default())).collect(),
                now: Instant::now(),
                writes: 0,
            }
        }

        fn run(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                for (name, alive, contest) in &mut self.players {
                    if !*alive {
                        continue;
                    }
                    if let Move::Write(claim) = contest.next(self.claim.as_ref(), name, self.now, PATIENCE) {
                        self.claim = Some(claim);
                        self.writes += 1;
                    }
                }
            }
        }

        fn alive(&mut self, index: usize, yes: bool) {
            self.players[index].1 = yes;
            self.players[index].2 = Contest::default();
        }

        fn holder(&self) -> &str {
            &self.claim.as_ref().expect("a claim").name
        }
    }

    #[test]
    fn one_alone_writes_once() {
        let mut play = Play::new(&["a/op"]);
        play.run(10_000);
        assert_eq!((play.holder(), play.writes), ("a/op", 1));
    }

    #[test]
    fn the_first_keeps_it_as_long_as_it_answers() {
        let mut play = Play::new(&["a/op", "b/op", "c/op"]);
        play.run(3600);
        assert_eq!(play.holder(), "a/op");
        assert!(play.writes < 3 * 60 * 2, "{} writes in an hour", play.writes);
        let claim = play.claim.clone().expect("a claim");
        assert!(claim.contender.is_some());
    }

    #[test]
    fn another_takes_over_in_bounded_time_and_keeps_it() {
        let mut play = Play::new(&["a/op", "b/op"]);
        play.run(300);
        play.alive(0, false);
        play.run(121);
        assert_eq!(play.holder(), "b/op");
        play.alive(0, true);
        play.run(1000);
        assert_eq!(play.holder(), "b/op", "who comes back does not take it away");
    }

    #[test]
    fn an_upgrade_does_not_lose_it() {
        let mut play = Play::new(&["a/op", "b/op"]);
        play.run(300);
        play.alive(0, false);
        play.run(45);
        play.alive(0, true);
        play.run(600);
        assert_eq!(play.holder(), "a/op");
    }

    #[test]
    fn a_contender_that_is_gone_is_forgotten() {
        let mut play = Play::new(&["a/op", "b/op"]);
        play.run(300);
        play.alive(1, false);
        play.run(300);
        assert_eq!(play.claim, Some(Claim::of("a/op")));
    }
}
