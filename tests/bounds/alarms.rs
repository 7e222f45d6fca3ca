//! Memory alarms: raised for memory that is taken, and for those who publish alone.
//!
//! In: messages for many queues, publishers and consumers during an alarm. Out: which of them are stopped.

use crate::small_broker;
use harness::http::Http;
use harness::requests::*;
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::method::*;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(10);

fn alarm(broker: &Broker) -> bool {
    let nodes = Http::new(broker.http()).get("/api/nodes");
    nodes[0]["mem_alarm"].as_bool().expect("an alarm or none")
}

#[test]
fn a_message_for_many_queues_counts_once() {
    const BODY: usize = 100_000;
    let Some((group, broker)) = small_broker(&["--memory-watermark", "32MiB"]) else {
        return;
    };
    let mut client = Client::with_channel(broker.amqp());
    let fanout = unique("fanout");
    call!(client, 1, exchange(&fanout, "fanout") => ExchangeDeclareOk);
    call!(client, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
    let queues: Vec<String> = (0..500).map(|_| unique("q")).collect();
    for queue in &queues {
        call!(client, 1, declare(queue) => QueueDeclareOk);
        call!(client, 1, bind(queue, &fanout, "") => QueueBindOk);
    }
    let before = group.anonymous();
    for _ in 0..40 {
        client.publish(1, &fanout, "", &vec![7; BODY]);
        expect!(client, 1, BasicAck);
    }
    let taken = group.anonymous().saturating_sub(before);
    assert!(
        taken < 24 * MIB && !alarm(&broker),
        "{taken} bytes for 40 messages of {BODY}"
    );
    // They count until the last queue has given them up, and no longer.
    let messages = || -> u64 {
        let text = Http::anonymous(broker.metrics()).request("GET", "/metrics", None).body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("leveret_messages_memory_bytes "));
        line.expect("a metric").trim().parse().expect("a number")
    };
    let (last, others) = queues.split_last().expect("500 of them");
    for queue in others {
        call!(client, 1, purge(queue) => QueuePurgeOk);
    }
    let left = messages();
    assert!(left >= 40 * BODY as u64, "{left} bytes");
    call!(client, 1, purge(last) => QueuePurgeOk);
    until("nothing counts any more", SOON, || messages() < MIB);
}

#[test]
fn an_alarm_stops_who_publishes_during_it_and_no_other() {
    let broker = Broker::start_with(&["--memory-watermark", "16MiB"]);
    let queue = unique("q");
    let connect = || {
        let mut client = Client::with_channel(broker.amqp());
        call!(client, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
        client
    };
    let (mut filler, mut both, mut late) = (connect(), connect(), connect());
    call!(filler, 1, declare(&queue) => QueueDeclareOk);
    // It has published, and consumes now.
    both.publish(1, "", &queue, b"first");
    expect!(both, 1, BasicAck);
    call!(both, 1, BasicQos { prefetch_count: 1, ..BasicQos::default() } => BasicQosOk);
    call!(both, 1, consume(&queue, "c") => BasicConsumeOk);
    let first = both.delivery(1).method.delivery_tag;
    for _ in 0..20 {
        filler.publish(1, "", &queue, &vec![7; 1_000_000]);
    }
    until("the alarm is on", SOON, || alarm(&broker));
    // The first publish during the alarm is told of at once, and held.
    late.publish(1, "", &queue, b"held");
    assert_eq!(expect!(late, 0, ConnectionBlocked).reason.as_bytes(), b"low on memory");
    late.quiet(Duration::from_millis(300));
    // Acknowledgements and deliveries go on, although that connection had published; they end the alarm.
    both.send(
        1,
        BasicAck {
            delivery_tag: first,
            multiple: false,
        },
    );
    loop {
        let delivery = both.delivery(1);
        let delivery_tag = delivery.method.delivery_tag;
        both.send(
            1,
            BasicAck {
                delivery_tag,
                multiple: false,
            },
        );
        if delivery.body.as_ref() == b"held" {
            break;
        }
    }
    expect!(late, 0, ConnectionUnblocked);
    expect!(late, 1, BasicAck);
}
