//! A consumer: counts what comes, and acknowledges it.
//!
//! In: frames. Out: latencies, acknowledgements. Does not know about sockets.

use leveret_amqp::{FrameKind, FrameView, put_ack};

use super::client::CHANNEL;
use super::count::Latencies;
use super::template::STAMP;

/// basic.deliver: class 60, method 60.
const DELIVER: [u8; 4] = [0, 60, 0, 60];

/// One connection's deliveries.
#[derive(Debug)]
pub struct Consumer {
    /// Deliveries per acknowledgement; `None` for auto-ack.
    ack_every: Option<u64>,
    unacked: u64,
    last_tag: u64,
    /// Deliveries that it takes.
    left: u64,
    /// The next body frame begins a body.
    body_begins: bool,
    /// Acknowledgements to send.
    pub out: Vec<u8>,
}

/// Deliveries with the same time stamp in a row: they came in one read, so their latency is the same.
#[derive(Debug, Default)]
pub struct Run {
    stamp: u64,
    count: u64,
}

impl Run {
    fn add(&mut self, stamp: u64, now: u64, latencies: &mut Latencies) {
        if stamp != self.stamp {
            self.end(now, latencies);
            self.stamp = stamp;
        }
        self.count += 1;
    }

    /// The rest at the end of a read.
    pub fn end(&mut self, now: u64, latencies: &mut Latencies) {
        if self.count > 0 {
            // A stamp from the future is another clock's.
            latencies.delivered(now.checked_sub(self.stamp).unwrap_or(u64::MAX), self.count);
        }
        self.count = 0;
    }
}

impl Consumer {
    #[must_use]
    pub fn new(ack_every: Option<u64>, count: Option<u64>) -> Consumer {
        Consumer {
            ack_every,
            unacked: 0,
            last_tag: 0,
            left: count.unwrap_or(u64::MAX),
            body_begins: false,
            out: Vec::new(),
        }
    }

    /// Takes a frame; `true` if it is a delivery's first.
    pub fn frame(&mut self, frame: &FrameView<'_>, now: u64, run: &mut Run, latencies: &mut Latencies) -> bool {
        match frame.kind {
            FrameKind::Body => {
                if std::mem::take(&mut self.body_begins)
                    && let Some(stamp) = frame.payload.first_chunk::<STAMP>()
                {
                    run.add(u64::from_be_bytes(*stamp), now, latencies);
                }
                false
            }
            FrameKind::Method if frame.payload.starts_with(&DELIVER) => {
                self.body_begins = true;
                self.left = self.left.saturating_sub(1);
                if let Some(every) = self.ack_every {
                    self.last_tag = delivery_tag(frame.payload).unwrap_or(self.last_tag);
                    self.unacked += 1;
                    if self.unacked >= every || self.left == 0 {
                        self.acknowledge();
                    }
                }
                true
            }
            _ => false,
        }
    }

    /// Acknowledges what is not yet.
    pub fn acknowledge(&mut self) {
        if self.unacked > 0 {
            put_ack(&mut self.out, CHANNEL, self.last_tag, self.unacked > 1);
            self.unacked = 0;
        }
    }

    /// True when it has taken all that it was to take.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left == 0
    }
}

/// The tag of a basic.deliver: behind the ids and the consumer's tag.
fn delivery_tag(payload: &[u8]) -> Option<u64> {
    let name = usize::from(*payload.get(4)?);
    payload
        .get(5 + name..)?
        .first_chunk()
        .map(|tag| u64::from_be_bytes(*tag))
}

#[cfg(test)]
mod tests {
    use leveret_amqp::{next_frame, parse_ack, put_content, put_deliver};

    use super::*;

    fn deliveries(tags: std::ops::RangeInclusive<u64>, stamp: u64) -> Vec<u8> {
        let mut octets = Vec::new();
        for tag in tags {
            put_deliver(&mut octets, CHANNEL, b"consumer", tag, false, b"", b"q");
            put_content(
                &mut octets,
                CHANNEL,
                4096,
                60,
                &[0, 0],
                &[&stamp.to_be_bytes()[..], &[b'x'; 9000]].concat(),
            );
        }
        octets
    }

    fn feed(consumer: &mut Consumer, mut octets: &[u8], latencies: &mut Latencies) -> u64 {
        let (mut run, mut count) = (Run::default(), 0);
        while let Some(frame) = next_frame(octets, 4096).expect("frames") {
            count += u64::from(consumer.frame(&frame, 5_000_000, &mut run, latencies));
            octets = octets.get(frame.wire_len()..).unwrap_or_default();
        }
        run.end(5_000_000, latencies);
        count
    }

    fn acks(octets: &[u8]) -> Vec<(u64, bool)> {
        let (mut rest, mut found) = (octets, Vec::new());
        while let Some(frame) = next_frame(rest, 4096).expect("frames") {
            found.push(parse_ack(frame.payload).expect("an ack").expect("whole"));
            rest = rest.get(frame.wire_len()..).unwrap_or_default();
        }
        found
    }

    #[test]
    fn each_delivery_counts_once_however_many_frames_it_has() {
        let (mut consumer, mut latencies) = (Consumer::new(Some(3), None), Latencies::default());
        assert_eq!(feed(&mut consumer, &deliveries(1..=7, 3_000_000), &mut latencies), 7);
        assert_eq!(acks(&consumer.out), [(3, true), (6, true)]);
        assert_eq!(latencies.deliver.len(), 7);
        assert!(latencies.deliver.max().abs_diff(2_000_000) < 2_000);
        consumer.out.clear();
        consumer.acknowledge();
        assert_eq!(acks(&consumer.out), [(7, false)]);
    }

    #[test]
    fn a_count_ends_with_an_acknowledgement() {
        let (mut consumer, mut latencies) = (Consumer::new(Some(100), Some(5)), Latencies::default());
        feed(&mut consumer, &deliveries(1..=5, 0), &mut latencies);
        assert!(consumer.is_done());
        assert_eq!(acks(&consumer.out), [(5, true)]);
    }

    #[test]
    fn another_clocks_stamps_are_left_out() {
        let (mut consumer, mut latencies) = (Consumer::new(None, None), Latencies::default());
        feed(&mut consumer, &deliveries(1..=2, u64::MAX / 2), &mut latencies);
        assert!(latencies.deliver.is_empty() && consumer.out.is_empty());
    }
}
