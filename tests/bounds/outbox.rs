//! Clients that don't read: what waits for them takes little memory, however much they ask for.
//!
//! In: requests and consumers whose answers and deliveries are left unread. Out: a bound of memory, and a bystander who
//! is served.

use crate::bystander::Bystander;
use crate::small_broker;
use harness::control_group::ControlGroup;
use harness::requests::*;
use harness::scripted_client::{Content, Frame};
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{Method, put_content, put_method_frame};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(20);
/// Time for which memory is watched.
const WATCHED: Duration = Duration::from_millis(1500);

/// The most memory that the broker takes above `before` while it is watched.
fn most_taken(group: &ControlGroup, before: u64) -> u64 {
    let begin = Instant::now();
    let mut most = 0;
    while begin.elapsed() < WATCHED {
        most = most.max(group.anonymous().saturating_sub(before));
        thread::sleep(Duration::from_millis(20));
    }
    most
}

/// Sends in the background until the broker takes no more.
fn send_unread(mut stream: TcpStream, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        // The end of the test ends the connection.
        let _ = stream.write_all(&bytes);
    })
}

/// An open connection with channel 1, as a bare socket.
fn bare_channel(broker: &Broker) -> TcpStream {
    Client::with_channel(broker.amqp()).into_stream()
}

fn repeated(method: Method, count: usize) -> Vec<u8> {
    let mut one = Vec::new();
    put_method_frame(&mut one, 1, &method);
    one.repeat(count)
}

/// 50 MB in a queue, in messages of 1 MB.
fn queue_with_50_mb(broker: &Broker) -> String {
    let mut client = Client::with_channel(broker.amqp());
    let queue = unique("large");
    call!(client, 1, durable(&queue) => QueueDeclareOk);
    call!(client, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
    for _ in 0..50 {
        client.publish_persistent(1, "", &queue, &vec![7; 1_000_000]);
        expect!(client, 1, BasicAck);
    }
    queue
}

#[test]
fn large_messages_that_are_fetched_and_not_read_wait_in_their_queue() {
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let bystander = Bystander::start(broker.amqp());
    let queue = queue_with_50_mb(&broker);
    let before = group.anonymous();
    let get = || BasicGet {
        no_ack: true,
        ..get(&queue)
    };
    let mut streams = Vec::new();
    for connections in [1, 10] {
        let more: Vec<TcpStream> = (0..connections).map(|_| bare_channel(&broker)).collect();
        for stream in &more {
            let stream = stream.try_clone().expect("a socket");
            send_unread(stream, repeated(get().into(), 10_000));
        }
        streams.extend(more);
        let most = most_taken(&group, before);
        assert!(most < 64 * MIB, "{connections} connections: {most} bytes");
    }
    for stream in streams {
        stream.shutdown(Shutdown::Both).expect("a socket");
    }
    let seen = bystander.end();
    assert!(seen.confirmed > 3 && seen.slowest < SOON, "{seen:?}");
    assert_eq!(group.killed(), 0);
}

#[test]
fn answers_and_returns_that_are_not_read_stop_the_requests() {
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let queue = unique("q");
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable(&queue) => QueueDeclareOk);
    let mandatory = |body: &[u8]| {
        let mut frames = Vec::new();
        let publish = BasicPublish {
            mandatory: true,
            ..publish("", "nowhere")
        };
        put_method_frame(&mut frames, 1, &publish.into());
        put_content(&mut frames, 1, 131_072, 60, &no_properties(), body);
        frames
    };
    let attacks = [
        repeated(durable(&queue).into(), 400_000),
        repeated(BasicQos::default().into(), 1_000_000),
        mandatory(&[1; 100_000]).repeat(400),
    ];
    for attack in attacks {
        let before = group.anonymous();
        let stream = bare_channel(&broker);
        send_unread(stream.try_clone().expect("a socket"), attack);
        let most = most_taken(&group, before);
        assert!(most < 24 * MIB, "{most} bytes");
        stream.shutdown(Shutdown::Both).expect("a socket");
    }
    call!(client, 1, passive(&queue) => QueueDeclareOk);
}

#[test]
fn a_large_message_for_many_who_do_not_read_is_in_memory_once() {
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    const BODY: usize = 20_000_000;
    let mut client = Client::with_channel(broker.amqp());
    let fanout = unique("fanout");
    call!(client, 1, exchange(&fanout, "fanout") => ExchangeDeclareOk);
    for no_ack in [true, false] {
        let consumers: Vec<TcpStream> = (0..30)
            .map(|_| {
                let mut consumer = Client::with_channel(broker.amqp());
                let queue = unique("q");
                call!(consumer, 1, exclusive(&queue) => QueueDeclareOk);
                call!(consumer, 1, bind(&queue, &fanout, "") => QueueBindOk);
                call!(consumer, 1, BasicConsume { no_ack, ..consume(&queue, "c") } => BasicConsumeOk);
                consumer.into_stream()
            })
            .collect();
        let before = group.anonymous();
        client.publish(1, &fanout, "", &vec![7; BODY]);
        let most = most_taken(&group, before);
        assert!(most < 2 * BODY as u64, "{most} bytes for 30 consumers");
        assert!(most > BODY as u64 / 2, "{most} bytes: it has come");
        drop(consumers);
        until("it goes with the last of them", SOON, || {
            group.anonymous().saturating_sub(before) < BODY as u64 / 2
        });
    }
    assert_eq!(group.killed(), 0);
}

#[test]
fn a_large_message_comes_whole_and_in_order() {
    let broker = Broker::shared();
    let mut client = Client::with_channel(broker.amqp());
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    let body = |n: usize| -> Vec<u8> { (0..n).map(|at| (at * 7 + n) as u8).collect() };
    let sizes = [0, 10, 131_000, 131_071, 131_072, 131_073, 1_000_000, 5];
    for size in sizes {
        client.publish(1, "", &queue, &body(size));
    }
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    for size in sizes {
        let delivery = client.delivery(1);
        assert!(delivery.body == body(size), "a body of {size}");
    }
    call!(client, 1, BasicRecover { requeue: true } => BasicRecoverOk);
    for size in sizes {
        let delivery = client.delivery(1);
        assert!(
            delivery.method.redelivered && delivery.body == body(size),
            "a body of {size} again"
        );
    }
}

#[test]
fn queues_that_were_fetched_from_and_deleted_leave_nothing() {
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let mut client = Client::with_channel(broker.amqp());
    let mut run = |count: usize| {
        for _ in 0..count {
            let queue = unique("q");
            call!(client, 1, declare(&queue) => QueueDeclareOk);
            assert!(client.get(1, &queue, true).is_none());
            call!(client, 1, delete(&queue) => QueueDeleteOk);
        }
        group.anonymous()
    };
    run(2000);
    let before = run(2000);
    let after = run(4000);
    let each = after.saturating_sub(before) / 4000;
    assert!(each < 100, "{each} bytes stay of each");
}

#[test]
fn a_consumer_without_limit_gets_what_there_is_memory_for_and_gives_it_back_in_order() {
    const MESSAGES: u32 = 120_000;
    // Half of the watermark is for messages that are not acknowledged: some 52,000.
    let Some((group, broker)) = small_broker(&["--memory-watermark", "16MiB"]) else {
        return;
    };
    let queue = unique("q");
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable(&queue) => QueueDeclareOk);
    call!(client, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
    for batch in 0..MESSAGES / 1000 {
        for n in 0..1000 {
            client.publish_persistent(1, "", &queue, &(batch * 1000 + n).to_be_bytes());
        }
        let mut confirmed = expect!(client, 1, BasicAck).delivery_tag;
        while confirmed < u64::from(batch + 1) * 1000 {
            confirmed = expect!(client, 1, BasicAck).delivery_tag;
        }
    }
    let before = group.anonymous();
    let mut greedy = Client::with_channel(broker.amqp());
    call!(greedy, 1, consume(&queue, "greedy") => BasicConsumeOk);
    let mut got = 0u32;
    while let Ok(Some(frame)) = greedy.any_frame(Duration::from_secs(2)) {
        if let Frame::Body(..) = frame {
            got += 1;
        }
    }
    assert!((50_000..70_000).contains(&got), "{got} of {MESSAGES}");
    // Another one is served although the first acknowledges nothing.
    let mut modest = Client::with_channel(broker.amqp());
    call!(modest, 1, BasicQos { prefetch_count: 10, ..BasicQos::default() } => BasicQosOk);
    call!(modest, 1, consume(&queue, "modest") => BasicConsumeOk);
    let number =
        |delivery: &Content<BasicDeliver>| u32::from_be_bytes(delivery.body.as_ref().try_into().expect("four octets"));
    let delivery = modest.delivery(1);
    assert_eq!(number(&delivery), got);
    modest.close();
    // The greedy one goes on once it acknowledges.
    greedy.send(
        1,
        BasicAck {
            delivery_tag: u64::from(got / 2),
            multiple: true,
        },
    );
    greedy.delivery(1);
    let more = got / 2;
    // It has got others for those that it has acknowledged.
    thread::sleep(Duration::from_millis(500));
    let held = group.anonymous().saturating_sub(before);
    drop(greedy);
    let peak = most_taken(&group, before);
    assert!(peak < held + 6 * MIB, "{peak} bytes while they return, {held} held");
    let mut next = Client::with_channel(broker.amqp());
    call!(next, 1, consume_no_ack(&queue, "next") => BasicConsumeOk);
    for expected in more..MESSAGES {
        let delivery = next.delivery(1);
        assert_eq!(number(&delivery), expected);
    }
    assert_eq!(group.killed(), 0);
}

/// Very many messages on their way back take what they took in their client's hands: those that only memory has, by
/// each way that there is.
#[test]
fn messages_on_their_way_back_take_no_more_than_before() {
    const MESSAGES: u32 = 200_000;
    let Some((group, broker)) = small_broker(&["--memory-watermark", "160MiB"]) else {
        return;
    };
    let queue = unique("q");
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, declare(&queue) => QueueDeclareOk);
    let mut publish = Vec::new();
    put_method_frame(&mut publish, 1, &publish_to(&queue));
    put_content(&mut publish, 1, 131_072, 60, &no_properties(), b"four");
    for _ in 0..MESSAGES / 1000 {
        client.send_bytes(&publish.repeat(1000));
    }
    let requeue_all = BasicNack {
        delivery_tag: 0,
        multiple: true,
        requeue: true,
    };
    for way in [
        None,
        Some(Method::from(requeue_all)),
        Some(BasicRecover { requeue: true }.into()),
    ] {
        let all_there = |client: &mut Client| {
            let declared = call!(client, 1, passive(&queue) => QueueDeclareOk);
            declared.message_count == MESSAGES
        };
        until("all wait", SOON, || all_there(&mut client));
        let mut greedy = Client::with_channel(broker.amqp());
        call!(greedy, 1, consume(&queue, "greedy") => BasicConsumeOk);
        for _ in 0..MESSAGES {
            greedy.delivery(1);
        }
        thread::sleep(Duration::from_millis(300));
        let held = group.anonymous();
        if let Some(way) = way {
            greedy.send(1, cancel("greedy"));
            greedy.send(1, way);
        } else {
            drop(greedy);
            greedy = Client::with_channel(broker.amqp());
        }
        let mut peak = 0;
        until("all are back", SOON, || {
            peak = peak.max(group.anonymous());
            all_there(&mut client)
        });
        assert!(
            peak < held + 8 * MIB,
            "{peak} bytes while they return, {held} while they were held"
        );
        drop(greedy);
    }
    assert_eq!(group.killed(), 0);
}

fn publish_to(queue: &str) -> Method {
    publish("", queue).into()
}
