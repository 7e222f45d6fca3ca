//! Topic exchanges: which key matches which pattern.

use harness::call;
use harness::requests::*;
use leveret_amqp::method::*;

use crate::client;

/// Patterns, keys that match, keys that do not.
const CASES: &[(&str, &[&str], &[&str])] = &[
    ("a.b.c", &["a.b.c"], &["a.b", "a.b.c.d", "a.b.d", ""]),
    ("a.*.c", &["a.b.c", "a..c"], &["a.c", "a.b.b.c"]),
    ("a.#", &["a", "a.b", "a.b.c"], &["b", "ab", ""]),
    ("#", &["", "a", "a.b.c", ".", "..."], &[]),
    ("*", &["a"], &["", "a.b", "."]),
    ("#.c", &["c", "b.c", "a.b.c"], &["c.d", ""]),
    ("a.#.c", &["a.c", "a.b.c", "a.b.b.c"], &["a", "c", "a.c.d"]),
    ("*.*", &["a.b", "."], &["a", "a.b.c"]),
    ("#.#", &["", "a", "a.b"], &[]),
    ("#.a.#", &["a", "b.a", "a.b", "x.a.y"], &["b", "x.y", ""]),
    ("*.#", &["a", "a.b", "."], &[""]),
    ("a.*.#.z", &["a.b.z", "a.b.c.z"], &["a.z", "a.b"]),
    ("a*", &["a*"], &["ab", "a"]),
    ("", &[""], &["a", "."]),
    ("größe.*", &["größe.ü"], &["grösse.ü"]),
];

#[test]
fn patterns_match_word_by_word() {
    let mut client = client();
    let name = unique("topic");
    call!(client, 1, exchange(&name, "topic") => ExchangeDeclareOk);
    for (pattern, matching, others) in CASES {
        let queue = unique("q");
        call!(client, 1, exclusive(&queue) => QueueDeclareOk);
        call!(client, 1, bind(&queue, &name, pattern) => QueueBindOk);
        for (keys, matches) in [(matching, true), (others, false)] {
            for key in *keys {
                client.publish(1, &name, key, b"x");
                assert_eq!(
                    client.get(1, &queue, true).is_some(),
                    matches,
                    "pattern {pattern:?}, key {key:?}"
                );
            }
        }
        call!(client, 1, unbind(&queue, &name, pattern) => QueueUnbindOk);
        client.publish(1, &name, matching[0], b"x");
        assert!(client.get(1, &queue, true).is_none(), "unbound from {pattern:?}");
    }
    call!(client, 1, delete_exchange(&name) => ExchangeDeleteOk);
}

#[test]
fn overlapping_patterns_bring_one_copy_to_each_queue() {
    let mut client = client();
    let name = unique("topic");
    call!(client, 1, exchange(&name, "topic") => ExchangeDeclareOk);
    let queues = [unique("one"), unique("two")];
    for queue in &queues {
        call!(client, 1, exclusive(queue) => QueueDeclareOk);
        for pattern in ["#", "a.#", "*.b", "a.b", "#.b"] {
            call!(client, 1, bind(queue, &name, pattern) => QueueBindOk);
        }
    }
    client.publish(1, &name, "a.b", b"x");
    for queue in &queues {
        assert!(client.get(1, queue, true).is_some());
        assert!(client.get(1, queue, true).is_none());
    }
    call!(client, 1, delete_exchange(&name) => ExchangeDeleteOk);
}

#[test]
fn unbinding_one_pattern_leaves_its_neighbours() {
    let mut client = client();
    let (name, queue) = (unique("topic"), unique("q"));
    call!(client, 1, exchange(&name, "topic") => ExchangeDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    let patterns = ["a", "a.b", "a.b.c", "a.*", "a.#", "#"];
    for pattern in patterns {
        call!(client, 1, bind(&queue, &name, pattern) => QueueBindOk);
    }
    for (gone, still) in [("a.b", true), ("a.#", true), ("#", true), ("a.*", false)] {
        call!(client, 1, unbind(&queue, &name, gone) => QueueUnbindOk);
        client.publish(1, &name, "a.b", b"x");
        assert_eq!(client.get(1, &queue, true).is_some(), still, "after unbinding {gone:?}");
    }
    for key in ["a", "a.b.c"] {
        client.publish(1, &name, key, b"x");
        assert!(client.get(1, &queue, true).is_some(), "{key:?} is still bound");
    }
    call!(client, 1, delete_exchange(&name) => ExchangeDeleteOk);
}

#[test]
fn a_thousand_patterns_find_their_own_queue() {
    let mut client = client();
    let (name, queue, other) = (unique("topic"), unique("q"), unique("other"));
    call!(client, 1, exchange(&name, "topic") => ExchangeDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, exclusive(&other) => QueueDeclareOk);
    for number in 0..1000 {
        let to = if number == 500 { &queue } else { &other };
        client.send(
            1,
            QueueBind {
                no_wait: true,
                ..bind(to, &name, &format!("device.{number}.*.#"))
            },
        );
    }
    client.publish(1, &name, "device.500.up.now", b"mine");
    assert_eq!(&client.get(1, &queue, true).expect("routed").body[..], b"mine");
    assert!(client.get(1, &other, true).is_none());
    call!(client, 1, delete_exchange(&name) => ExchangeDeleteOk);
}

#[test]
fn a_pattern_with_more_than_two_hashes_is_refused() {
    let mut client = client();
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.send(1, bind(&queue, "amq.topic", "#.a.#.b.#"));
    client.channel_error(
        1,
        406,
        "PRECONDITION_FAILED - Topic binding key '#.a.#.b.#' uses 3 '#' wildcards, at most 2 are allowed",
    );
}
