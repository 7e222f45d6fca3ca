//! Two queues that may be each other's dead-letter queue, against a model, while policies come and go.
//!
//! The log is a real one, and a restart opens it again. `LEVERET_MODEL_CASES`: the number of cases, if more are wanted.

use crate::access::Actor;
use crate::access::permissions::Permissions;
use crate::limits::Memory;
use crate::message::Message;
use crate::outbox::Work;
use crate::policy::{Class, Policies, Policy};
use crate::queue::arguments::{Retry, RetryType};
use crate::queue::arrival::{destinations, enqueue};
use crate::queue::entry::{Entry, NOWHERE};
use crate::queue::stamp;
use crate::queue::{Outcome, Queue, returns};
use crate::vhost::Vhost;
use crate::vhost::ids::{self, QueueIds};
use crate::vhost::record;
use crate::vhost::restore::restore;
use crate::vhost::shared::Shared;
use leveret_amqp::method::QueueDeclare;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, ShortString};
use leveret_store::fs::RealFs;
use leveret_store::{Batch, MessageId, Options, Store, Urgency};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

/// The queues as they should be.
mod model;

use model::{Known, Model, NAMES, Place, Settings};

/// The wall clock at the begin of a case.
const BEGIN: u64 = 1_795_000_000_000;
/// Body of a message of which not many fit into the budget that the queues have here.
const LARGE: usize = 8 << 10;

#[derive(Clone, Debug)]
enum Step {
    /// Some messages: queue, number, durable, expiration, large, and the distance of their priorities.
    Publish(usize, usize, bool, Option<u64>, bool, u8),
    /// With an acknowledgement to come, or without.
    Get(usize, bool),
    /// One of those that were got.
    Settle(usize, usize, Outcome),
    /// Time goes by.
    Pass(u64),
    /// The same, but the clock is late.
    PassUnnoticed(u64),
    Purge(usize),
    /// A policy in place of the queue's, or none.
    Policy(usize, Option<Settings>),
    Restart,
}

/// The policy of the queue `at` with these settings; `None` if it would say nothing.
fn policy(settings: &Settings, at: usize) -> Option<Policy> {
    let mut definition = FieldTable::new();
    let mut number = |key, value: Option<u64>| {
        if let Some(value) = value {
            definition.push(short(key), FieldValue::Long(value as i64));
        }
    };
    number("message-ttl", settings.ttl);
    number("max-length", settings.max_length);
    number("delivery-limit", settings.delivery_limit.map(u64::from));
    if let Some(to) = settings.dead_letters {
        definition.push(short("dead-letter-exchange"), "".into());
        definition.push(short("dead-letter-routing-key"), NAMES[to].into());
    }
    let fields = [
        ("pattern", NAMES[at].into()),
        ("apply-to", "classic_queues".into()),
        ("definition", FieldValue::Table(definition)),
    ];
    let fields = fields.into_iter().map(|(key, value)| (short(key), value));
    Policy::parse(Class::User, NAMES[at], &fields.collect()).ok()
}

/// The queues as they are.
struct Bench {
    folder: TempDir,
    opened: Option<(Store, Arc<Vhost>)>,
    memory: Arc<Memory>,
    work: Work,
}

/// Memory that queues keep few messages in, from the first one on.
fn scarce() -> Arc<Memory> {
    let memory = Memory::new(1);
    memory.add(1);
    Arc::new(memory)
}

fn short(text: &str) -> ShortString {
    ShortString::truncated(text)
}

fn open(folder: &TempDir, memory: &Arc<Memory>, work: &mut Work) -> (Store, Arc<Vhost>) {
    let options = Options {
        segment_bytes: 1 << 20,
        ..Options::new(folder.path())
    };
    let opened = Store::open(options, Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {}));
    let (store, mut recovered) = opened.expect("a log");
    let reserved = recovered.table.get(ids::KEY).map(|value| value.as_ref());
    let ids = QueueIds::recovered(reserved);
    let shared = Shared::new(store.handle(), memory.clone(), ids, None, Arc::default());
    let table = recovered.table.iter().map(|(key, value)| (&**key, &**value));
    let vhost = restore(&shared, table).expect("an open log").swap_remove(0);
    for (id, backlog) in std::mem::take(&mut recovered.queues) {
        shared.queues.get(id).expect("a queue").restore(backlog);
    }
    let mut queues = shared.queues.all();
    queues.sort_by_key(|queue| queue.name().clone());
    for queue in queues {
        let mut more = queue.begin(work);
        while more {
            more = queue.trim(work);
        }
    }
    work.finish(&store.handle()).expect("an open log");
    (store, vhost)
}

impl Bench {
    fn new(settings: &[Settings; 2]) -> Self {
        let (folder, memory, mut work) = (TempDir::new().expect("a folder"), scarce(), Work::default());
        work.set_time = Some(BEGIN);
        let opened = open(&folder, &memory, &mut work);
        for (name, settings) in NAMES.into_iter().zip(settings) {
            let mut arguments = FieldTable::new();
            let mut number = |name: &'static str, value: Option<u64>| {
                if let Some(value) = value {
                    arguments.push(short(name), FieldValue::Long(value as i64));
                }
            };
            number("x-message-ttl", settings.ttl);
            number("x-max-length", settings.max_length);
            number("x-delivery-limit", settings.delivery_limit.map(u64::from));
            number("x-max-priority", settings.max_priority.map(u64::from));
            number("x-delayed-retry-min", settings.retry.map(|retry| retry.min));
            number("x-delayed-retry-max", settings.retry.map(|retry| retry.max));
            if let Some(retry) = settings.retry {
                arguments.push(short("x-delayed-retry-type"), retry.after.name().into());
            }
            if let Some(to) = settings.dead_letters {
                arguments.push(short("x-dead-letter-exchange"), "".into());
                arguments.push(short("x-dead-letter-routing-key"), NAMES[to].into());
            }
            let declare = QueueDeclare {
                queue: short(name),
                durable: true,
                arguments: arguments.into(),
                ..QueueDeclare::default()
            };
            opened.1.declare_queue(&declare, &owner()).map(drop).expect("a queue");
        }
        let opened = Some(opened);
        Self {
            folder,
            opened,
            memory,
            work,
        }
    }

    fn queue(&self, at: usize) -> Arc<Queue> {
        let vhost = &self.opened.as_ref().expect("an open log").1;
        vhost.queue(&short(NAMES[at]), &owner()).expect("a queue")
    }

    fn finish(&mut self) {
        let log = self.opened.as_ref().expect("an open log").0.handle();
        self.work.finish(&log).expect("an open log");
    }

    fn publish(&mut self, at: usize, messages: &[Known], expiration: Option<u64>) {
        let (queue, log) = (self.queue(at), self.opened.as_ref().expect("an open log").0.handle());
        let (now, first) = (self.work.millis(), log.next_ids(messages.len() as u64));
        let (mut batch, mut entries, mut places) = (Batch::default(), Vec::new(), Vec::new());
        for (id, known) in (first..).zip(messages) {
            let properties = BasicProperties {
                delivery_mode: Some(if known.durable { 2 } else { 1 }),
                expiration: expiration.map(|millis| short(&millis.to_string())),
                priority: known.priority,
                ..BasicProperties::default()
            };
            let mut body = known.number.to_be_bytes().to_vec();
            body.resize(known.len, b'x');
            let message = Message::new(b"", NAMES[at].as_bytes(), &properties.to_bytes(), &body);
            let mut wanted = Vec::new();
            destinations(std::slice::from_ref(&queue), &message, Some(now), &mut wanted);
            let place = known
                .durable
                .then(|| batch.publish(id, &wanted, &message.record(&mut [0; 4])));
            places.push(place);
            entries.push(Entry::new(id, NOWHERE, message));
        }
        let appended = (!batch.is_empty()).then(|| log.append(&mut batch, Urgency::Soon).expect("an open log"));
        for (entry, place) in entries.iter_mut().zip(places) {
            if let (Some(appended), Some(place)) = (&appended, place) {
                (entry.location, entry.durable) = (appended.location(place), true);
            }
        }
        let _ = enqueue(&[queue], &mut entries, Some(now), &mut self.work);
    }

    /// The next message: its id, number and length, if it was delivered before, and its deaths.
    fn get(&mut self, at: usize, no_ack: bool) -> Option<(MessageId, Known)> {
        let queue = self.queue(at);
        let mut found = None;
        queue.get(no_ack, &mut self.work, |entry, _| {
            let message = entry.message.as_ref().expect("in memory");
            let (number, _) = message.body().split_first_chunk().expect("a number");
            let known = Known {
                number: u32::from_be_bytes(*number),
                len: message.body().len(),
                priority: message.priority(),
                deadline: stamp::deadline(entry.stamp),
                expiration: message.expiration(),
                durable: entry.durable,
                redelivered: entry.redelivered,
                counts: (
                    returns::returns(entry.delivery_count),
                    returns::failures(entry.delivery_count),
                ),
                history: history(message),
            };
            found = Some((entry.id, known));
        });
        found
    }

    fn set_policy(&mut self, at: usize, policy: Option<Policy>) {
        let vhost = self.opened.as_ref().expect("an open log").1.clone();
        let mut records = Batch::default();
        let key = record::policy_key("/", Class::User, NAMES[at]);
        match &policy {
            Some(policy) => records.put(&key, &record::policy_value(policy)),
            None => records.delete(&key),
        }
        let change = |policies: &mut Policies| match policy {
            Some(policy) => policies.put(Class::User, policy),
            None => policies.remove(Class::User, NAMES[at]).is_some(),
        };
        let _ = vhost
            .change_policies(&mut records, (Class::User, NAMES[at]), change, &mut self.work)
            .expect("an open log");
    }

    fn restart(&mut self) {
        let (store, vhost) = self.opened.take().expect("an open log");
        (0..2).for_each(|at| {
            let _ = vhost.queue(&short(NAMES[at]), &owner()).map(|queue| queue.capture());
        });
        store.close().expect("a log that has not failed");
        drop(vhost);
        self.memory = scarce();
        self.opened = Some(open(&self.folder, &self.memory, &mut self.work));
    }
}

impl Drop for Bench {
    /// A case that the model refutes ends amid a batch.
    fn drop(&mut self) {
        if let Some((store, _)) = &self.opened {
            let _ = self.work.finish(&store.handle());
        }
    }
}

fn owner() -> Actor {
    Actor::new("someone", Permissions::ALL).on(1)
}

fn history(message: &Message) -> Vec<(usize, &'static str, i64)> {
    let headers = BasicProperties::parse(message.properties())
        .expect("properties")
        .headers;
    let headers = headers.unwrap_or_default();
    let entries = headers
        .get("x-death")
        .and_then(FieldValue::as_array)
        .unwrap_or_default();
    let death = |entry: &FieldValue| {
        let entry = entry.as_table()?;
        let text = |name| entry.get(name).and_then(FieldValue::as_str);
        let queue = NAMES.iter().position(|name| text("queue") == Some(*name))?;
        let reasons = ["rejected", "expired", "maxlen", "delivery_limit"];
        let reason = reasons.into_iter().find(|reason| text("reason") == Some(*reason))?;
        Some((queue, reason, entry.get("count").and_then(FieldValue::as_i64)?))
    };
    entries.iter().map(|entry| death(entry).expect("a death")).collect()
}

fn settings() -> impl Strategy<Value = Settings> {
    let ttl = proptest::option::of(prop_oneof![Just(0), 1..200u64]);
    let dead_letters = proptest::option::weighted(0.7, 0..2usize);
    let limits = (proptest::option::of(0..20u64), proptest::option::of(0..3u32));
    let max_priority = proptest::option::of(prop_oneof![Just(0), Just(5), Just(255)]);
    let after = prop_oneof![Just(RetryType::All), Just(RetryType::Failed), Just(RetryType::Returned)];
    let retry = (after, 1..60u64, 1..120u64).prop_map(|(after, min, max)| Retry { after, min, max });
    let all = (ttl, limits, max_priority, proptest::option::of(retry), dead_letters);
    all.prop_map(
        |(ttl, (max_length, delivery_limit), max_priority, retry, dead_letters)| Settings {
            ttl,
            max_length,
            delivery_limit,
            max_priority,
            retry,
            dead_letters,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let count = prop_oneof![4 => 1..4usize, 1 => 20..60usize];
    let expiration = proptest::option::of(prop_oneof![1 => Just(0), 9 => 1..150u64]);
    let outcome = prop_oneof![
        1 => Just(Outcome::Acked),
        1 => Just(Outcome::Rejected),
        1 => Just(Outcome::Requeued),
        2 => Just(Outcome::Failed)
    ];
    let step = prop_oneof![
        6 => (0..2usize, count, any::<bool>(), expiration, any::<bool>(), 0..5u8)
            .prop_map(|(at, count, durable, expiration, large, apart)| Step::Publish(at, count, durable, expiration, large, apart)),
        6 => (0..2usize, any::<bool>()).prop_map(|(at, no_ack)| Step::Get(at, no_ack)),
        5 => (0..2usize, any::<usize>(), outcome).prop_map(|(at, which, outcome)| Step::Settle(at, which, outcome)),
        2 => (1..100u64).prop_map(Step::Pass),
        2 => (1..100u64).prop_map(Step::PassUnnoticed),
        1 => (0..2usize).prop_map(Step::Purge),
        2 => (0..2usize, proptest::option::weighted(0.7, settings())).prop_map(|(at, policy)| Step::Policy(at, policy)),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

fn cases() -> u32 {
    let wanted = std::env::var("LEVERET_MODEL_CASES").ok();
    wanted.and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn messages_expire_are_dropped_and_move_on_as_in_a_model(settings in [settings(), settings()], steps in steps()) {
        let (mut bench, mut model) = (Bench::new(&settings), Model::default());
        model.now = BEGIN;
        for (queue, settings) in model.queues.iter_mut().zip(&settings) {
            queue.settings = settings.clone();
        }
        let (mut number, mut restarted) = (0, false);
        // Ids of the broker for the model's, of messages that were got.
        let mut got: BTreeMap<(usize, Place), MessageId> = BTreeMap::new();
        let drain = || [0, 1].into_iter().flat_map(|at| std::iter::repeat_n(Step::Get(at, true), 400));
        let end = [Step::Restart].into_iter().chain(drain()).chain([Step::Pass(120)]).chain(drain());
        for step in steps.into_iter().chain(end) {
            match step {
                Step::Publish(at, count, durable, expiration, large, apart) => {
                    let ttl = model.queues[at].settings.ttl;
                    let left = ttl.into_iter().chain(expiration).min();
                    let known = |number| Known {
                        number,
                        len: if large { LARGE } else { 4 },
                        priority: Some((number % 5) as u8 * apart).filter(|priority| *priority > 0),
                        deadline: left.map(|left| stamp::end(model.now, left)),
                        expiration,
                        durable,
                        redelivered: false,
                        counts: (0, 0),
                        history: Vec::new(),
                    };
                    let messages: Vec<Known> = (number..number + count as u32).map(known).collect();
                    number += count as u32;
                    bench.publish(at, &messages, expiration);
                    model.add(at, messages);
                }
                Step::Get(at, no_ack) => {
                    model.expire(at);
                    let found = bench.get(at, no_ack);
                    let expected = model.queues[at].waiting.pop_first();
                    prop_assert_eq!(found.as_ref().map(|found| &found.1), expected.as_ref().map(|known| &known.1));
                    if let (Some((id, known)), Some((place, _)), false) = (found, expected, no_ack) {
                        let queue = &mut model.queues[at];
                        queue.mark = queue.mark.max(if known.durable { place.1 } else { 0 });
                        queue.out.insert(place, known);
                        got.insert((at, place), id);
                    }
                }
                Step::Settle(at, which, outcome) => {
                    let queue = &mut model.queues[at];
                    let Some(place) = queue.out.keys().nth(which % queue.out.len().max(1)).copied() else { continue };
                    let id = got.remove(&(at, place)).expect("an id");
                    let mut known = queue.out.remove(&place).expect("a message");
                    bench.queue(at).settle(0, &[id], outcome, &mut bench.work);
                    match outcome {
                        Outcome::Acked => {}
                        Outcome::Rejected => model.end(at, "rejected", vec![known]),
                        Outcome::Requeued | Outcome::Failed => {
                            known.redelivered = true;
                            model.take_back(at, place, known, outcome == Outcome::Failed);
                        }
                    }
                    model.expire(at);
                }
                Step::Pass(millis) | Step::PassUnnoticed(millis) => {
                    model.now += millis;
                    bench.work.set_time = Some(model.now);
                }
                Step::Purge(at) => {
                    let waiting = std::mem::take(&mut model.queues[at].waiting);
                    let delayed = std::mem::take(&mut model.queues[at].delayed);
                    prop_assert_eq!(bench.queue(at).purge(&mut bench.work), waiting.len() + delayed.len());
                }
                Step::Policy(at, ref said) => {
                    let put = said.as_ref().and_then(|said| policy(said, at));
                    let counts = put.as_ref().and(said.as_ref());
                    model.queues[at].settings = counts.map_or(settings[at].clone(), |policy| settings[at].under(policy));
                    model.trim(at);
                    bench.set_policy(at, put);
                }
                Step::Restart => {
                    got.clear();
                    restarted = true;
                    bench.restart();
                    model.restart();
                }
            }
            bench.finish();
            model.finish();
            // The clock calls for what is over, unless it is late.
            if !matches!(step, Step::PassUnnoticed(_)) {
                for at in [0, 1] {
                    while bench.queue(at).time_over(model.now, &mut bench.work) {}
                    model.expire(at);
                    model.finish();
                }
            }
            for at in [0, 1] {
                let (snapshot, queue) = (bench.queue(at).snapshot(), &model.queues[at]);
                prop_assert_eq!((snapshot.ready, snapshot.unacked), (queue.waiting.len(), queue.out.len()));
                prop_assert_eq!(snapshot.delayed, queue.delayed.len());
                // The log tells the lengths of payloads, with properties and routing key.
                let bytes = |messages: &BTreeMap<Place, Known>| messages.values().map(|known| known.len as u64).sum::<u64>();
                let (ready, unacked) = (bytes(&queue.waiting), bytes(&queue.out));
                if restarted {
                    prop_assert!(snapshot.ready_bytes >= ready && snapshot.unacked_bytes >= unacked);
                    prop_assert!((snapshot.ready_bytes == 0, snapshot.unacked_bytes == 0) == (ready == 0, unacked == 0));
                } else {
                    prop_assert_eq!((snapshot.ready_bytes, snapshot.unacked_bytes), (ready, unacked));
                }
                let durable = queue.waiting.values().filter(|known| known.durable);
                prop_assert_eq!(snapshot.persistent, durable.count());
                prop_assert!(snapshot.memory == 0 || snapshot.messages() > 0);
            }
            let resident = [0, 1].map(|at| bench.queue(at).snapshot().memory);
            prop_assert_eq!(bench.memory.resident(), 1 + resident.iter().sum::<u64>());
        }
    }
}

fn known(number: u32, len: usize, deadline: Option<u64>) -> Known {
    Known {
        number,
        len,
        priority: None,
        deadline,
        expiration: None,
        durable: true,
        redelivered: false,
        counts: (0, 0),
        history: Vec::new(),
    }
}

#[test]
fn a_message_whose_time_is_over_is_not_delivered_however_many_there_are() {
    let settings = [
        Settings {
            ttl: Some(10),
            ..Settings::default()
        },
        Settings::default(),
    ];
    let mut bench = Bench::new(&settings);
    let messages: Vec<Known> = (0..200).map(|number| known(number, LARGE, Some(BEGIN + 11))).collect();
    bench.publish(0, &messages, None);
    bench.work.set_time = Some(BEGIN + 11);
    assert_eq!(bench.get(0, true), None);
    bench.finish();
    assert_eq!(bench.queue(0).snapshot().totals.expired, 200);
}

#[test]
fn large_messages_that_die_together_move_on_in_order() {
    let dead_letters = Some(1);
    let settings = [
        Settings {
            dead_letters,
            ..Settings::default()
        },
        Settings::default(),
    ];
    let mut bench = Bench::new(&settings);
    let messages: Vec<Known> = (0..300).map(|number| known(number, LARGE, None)).collect();
    bench.publish(0, &messages, None);
    let ids: Vec<MessageId> = std::iter::from_fn(|| bench.get(0, false)).map(|(id, _)| id).collect();
    bench.queue(0).settle(0, &ids, Outcome::Rejected, &mut bench.work);
    bench.finish();
    let arrived: Vec<u32> = std::iter::from_fn(|| bench.get(1, true))
        .map(|(_, known)| known.number)
        .collect();
    bench.finish();
    assert_eq!(arrived, (0..300).collect::<Vec<_>>());
}
