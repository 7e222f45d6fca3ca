//! As many bindings, queues and keys as users may make.

use super::{Bench, actor};
use crate::access::permissions::Right;
use crate::error::Error;
use crate::exchange::TYPES;
use crate::exchange::binding::{Binding, DestinationKind, Sorted};
use crate::growth::is_linear;
use crate::limits::Holding;
use crate::message::Message;
use crate::vhost::route::{MOST_STEPS, NoRoute, Route};
use crate::vhost::routes::RouteCache;
use leveret_amqp::method::{ExchangeDeclare, QueueDeclare};
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, ShortString};
use std::sync::Arc;

fn name(kind: &str, number: usize) -> ShortString {
    ShortString::truncated(&format!("{kind}{number}"))
}

impl Bench {
    fn exchange(&self, exchange: &str, kind: &str) {
        let declare = ExchangeDeclare {
            exchange: ShortString::truncated(exchange),
            kind: ShortString::truncated(kind),
            ..ExchangeDeclare::default()
        };
        assert!(self.vhost.declare_exchange(&declare, &actor(&Right::ALL)).is_ok());
    }

    fn queues(&self, n: usize) {
        for number in 0..n {
            let declare = QueueDeclare {
                queue: name("q", number),
                ..QueueDeclare::default()
            };
            assert!(self.vhost.declare_queue(&declare, &actor(&Right::ALL)).is_ok());
        }
    }

    fn bind(&self, source: &str, queue: ShortString, routing_key: ShortString) {
        let binding = Binding {
            source: ShortString::truncated(source),
            destination_kind: DestinationKind::Queue,
            destination: queue,
            routing_key,
            arguments: Sorted::default(),
        };
        assert!(self.vhost.bind(binding, &actor(&Right::ALL)).is_ok());
    }

    fn route(&self, exchange: &str, key: &str, copies: &[String]) -> Result<Route, NoRoute> {
        let copies = copies.iter().map(|key| FieldValue::from(key.as_str())).collect();
        let headers: FieldTable = [(ShortString::from_static("CC"), FieldValue::Array(copies))]
            .into_iter()
            .collect();
        let properties = BasicProperties {
            headers: Some(headers),
            ..BasicProperties::default()
        };
        let message = Message::new(exchange.as_bytes(), key.as_bytes(), &properties.to_bytes(), b"");
        self.vhost.route(&message, Some(&actor(&Right::ALL)))
    }
}

#[test]
fn a_queue_goes_with_its_bindings_in_the_same_time_each() {
    for kind in TYPES.iter().filter(|kind| kind.name != "x-local-random") {
        let make = |n| {
            let bench = Bench::new();
            bench.exchange("many", kind.name);
            for number in 0..n {
                bench.bind("many", ShortString::from_static("q"), name("k", number));
            }
            bench
        };
        let delete = |bench: &mut Bench, _| {
            let queue = ShortString::from_static("q");
            assert!(
                bench
                    .vhost
                    .delete_queue(&queue, false, false, &actor(&Right::ALL))
                    .is_ok()
            );
            assert!(bench.vhost.topology().incoming.is_empty());
        };
        is_linear(kind.name, 1_000, make, delete);
    }
}

#[test]
fn a_message_comes_to_many_queues_by_many_keys_in_the_same_time_each() {
    let make = |n| {
        let bench = Bench::new();
        bench.queues(n);
        bench.exchange("all", "fanout");
        bench.exchange("some", "direct");
        for number in 0..n {
            bench.bind("all", name("q", number), ShortString::new());
            bench.bind("some", name("q", number), name("k", number / 2));
        }
        let keys: Vec<String> = (0..n).map(|key| format!("k{}", key % (n / 4))).collect();
        (bench, keys)
    };
    let routes = |(bench, keys): &mut (Bench, Vec<String>), n| {
        let queues = |exchange, keys: &[String]| bench.route(exchange, "k0", keys).expect("a route").queues.len();
        assert_eq!((queues("all", keys), queues("some", keys)), (n, n / 2));
    };
    is_linear("routes", 2_000, make, routes);
}

#[test]
fn a_message_that_takes_too_many_steps_is_refused_with_what_to_do() {
    let bench = Bench::new();
    bench.exchange("some", "direct");
    // A hundred exchanges that each take all of the keys.
    for number in 0..100 {
        bench.exchange(&format!("x{number}"), "direct");
        let binding = Binding {
            source: ShortString::from_static("some"),
            destination_kind: DestinationKind::Exchange,
            destination: name("x", number),
            routing_key: ShortString::from_static("k"),
            arguments: Sorted::default(),
        };
        assert!(bench.vhost.bind(binding, &actor(&Right::ALL)).is_ok());
    }
    let many: Vec<String> = (0..10_000).map(|key| format!("none{key}")).collect();
    assert!(bench.route("some", "k", &many[..5_000]).is_ok());
    // The same keys again are no more keys.
    let again: Vec<String> = many.iter().take(5_000).cycle().take(20_000).cloned().collect();
    assert!(bench.route("some", "k", &again).is_ok());
    match bench.route("some", "k", &many) {
        Err(NoRoute::Refused(error)) => {
            assert!(matches!(*error, Error::Precondition(_)));
            let text = error.to_string();
            for said in ["exchange 'some'", &MOST_STEPS.to_string(), "use fewer bindings"] {
                assert!(text.contains(said), "{text}");
            }
            assert!(text.len() < 255, "all of it goes into a reply text: {text}");
        }
        other => panic!("{:?}", other.map(|route| route.queues.len())),
    }
}

#[test]
fn routes_to_the_same_queues_share_them_and_a_connection_keeps_a_limited_number() {
    let bench = Bench::new();
    bench.queues(1_000);
    bench.exchange("all", "topic");
    bench.exchange("few", "topic");
    for number in 0..1_000 {
        bench.bind("all", name("q", number), ShortString::from_static("#"));
    }
    bench.bind("few", name("q", 1), ShortString::from_static("#"));
    let actor = actor(&Right::ALL);
    let held = || bench.vhost.memory.held(Holding::Routes);
    let mut cache = RouteCache::default();
    let mut route = |exchange: &str, key: usize| {
        let message = Message::new(exchange.as_bytes(), format!("k{key}").as_bytes(), b"\0\0", b"");
        cache
            .route(&bench.vhost, Some(&actor), &message)
            .expect("a route")
            .queues
    };
    let first = route("all", 0);
    for key in 1..1_000 {
        assert!(Arc::ptr_eq(&route("all", key), &first));
    }
    assert!(held() < 300 << 10, "1,000 keys to 1,000 queues: {} bytes", held());
    let mut most = 0;
    for key in 0..25_000 {
        route("few", key);
        most = most.max(held());
    }
    assert!(
        (4 << 20..5 << 20).contains(&most) && held() < 1 << 20,
        "it has begun anew: {most}, {}",
        held()
    );
    drop(cache);
    assert_eq!(held(), 0);
}
