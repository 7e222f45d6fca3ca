//! A message whose way takes long, and what others do meanwhile.
//!
//! The message stands still in an exchange of a type made for these tests. Whoever waited for it would wait for good.

use super::{Bench, actor, binding, exchange, publish, queue};
use crate::access::permissions::Right;
use crate::exchange::binding::{Binding, DestinationKind};
use crate::exchange::{Definition, Exchange, OutOfSteps, Router, Routing, Steps, Target, Type, fanout};
use crate::message::Message;
use crate::policy::{Class, Policy};
use crate::vhost::Vhost;
use crate::vhost::route::Route;
use leveret_amqp::{FieldTable, FieldValue, RawTable, ShortString};
use std::cell::RefCell;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// After this a test fails instead of waiting for good.
const NEVER: Duration = Duration::from_secs(30);

/// `fanout`, in which a message on this thread stands still while [`MEANWHILE`] goes on.
static SLOW: Type = Type {
    name: "slow",
    description: "",
    check: fanout::TYPE.check,
    router: |arguments| Ok(Box::new(Slow((fanout::TYPE.router)(arguments)?))),
};

thread_local! {
    /// Goes on during the next look-up in an exchange of the type.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

struct Slow(Box<dyn Router>);

impl Router for Slow {
    fn bind(&mut self, binding: &Arc<Binding>, target: Target) {
        self.0.bind(binding, target);
    }

    fn unbind(&mut self, binding: &Arc<Binding>, target: &Target) {
        self.0.unbind(binding, target);
    }

    fn route<'a>(
        &'a self,
        routing: &Routing<'_>,
        steps: &mut Steps,
        found: &mut dyn FnMut(&'a Target),
    ) -> Result<(), OutOfSteps> {
        if let Some(meanwhile) = MEANWHILE.take() {
            meanwhile();
        }
        self.0.route(routing, steps, found)
    }
}

impl Bench {
    /// An exchange of the type.
    fn slow(&self, name: &'static str) {
        let name = ShortString::from_static(name);
        let definition = Definition {
            name: name.clone(),
            kind: &SLOW,
            durable: false,
            auto_delete: false,
            internal: false,
            arguments: RawTable::new(),
        };
        let exchange = Exchange::new(definition).expect("it takes no arguments");
        self.vhost.topology.write().exchanges.insert(name, exchange);
    }
}

/// Names of the queues that a message gets to while another thread does something.
fn queues_meanwhile(
    vhost: &Arc<Vhost>,
    exchange: &'static str,
    meanwhile: impl FnOnce(&Vhost) + Send + 'static,
) -> Vec<String> {
    let other = vhost.clone();
    MEANWHILE.set(Some(Box::new(move || {
        let (done, wait) = mpsc::channel();
        thread::spawn(move || {
            meanwhile(&other);
            done.send(()).expect("it is waited for");
        });
        wait.recv_timeout(NEVER).expect("nothing waits for the look-up");
    })));
    let queues = queues(vhost, exchange, "");
    assert!(MEANWHILE.take().is_none(), "it went on during the look-up");
    queues
}

/// Names of the queues that a message gets to.
fn queues(vhost: &Vhost, exchange: &str, key: &str) -> Vec<String> {
    let message = Message::new(exchange.as_bytes(), key.as_bytes(), b"\0\0", b"");
    let route: Route = vhost.route(&message, Some(&actor(&Right::ALL))).expect("a route");
    let names = route
        .queues
        .iter()
        .map(|queue| queue.name().to_str_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn to(source: &'static str, kind: DestinationKind, destination: &'static str) -> Binding {
    Binding {
        source: ShortString::from_static(source),
        ..binding(kind, destination)
    }
}

#[test]
fn others_declare_bind_publish_and_delete_while_a_message_is_on_its_way() {
    let bench = Bench::new();
    let all = actor(&Right::ALL);
    bench.slow("slow");
    let bind = |vhost: &Vhost, source, queue| {
        let bound = vhost.bind(to(source, DestinationKind::Queue, queue), &actor(&Right::ALL));
        assert!(bound.is_ok());
    };
    bind(&bench.vhost, "slow", "q");
    let found = queues_meanwhile(&bench.vhost, "slow", move |vhost| {
        let all = actor(&Right::ALL);
        for name in ["new", "gone"] {
            assert!(vhost.declare_queue(&queue(name), &all).is_ok());
            bind(vhost, "slow", name);
        }
        assert!(vhost.declare_exchange(&exchange("z"), &all).is_ok());
        bind(vhost, "x", "new");
        assert!(publish(vhost, &all).is_ok());
        assert_eq!(queues(vhost, "", "q"), ["q"]);
        assert_eq!(queues(vhost, "x", ""), ["new"]);
        for name in ["gone", "q"] {
            let name = ShortString::from_static(name);
            assert!(vhost.delete_queue(&name, false, false, &all).is_ok());
        }
        let unbound = vhost.unbind(&to("x", DestinationKind::Queue, "new"), &all);
        assert!(unbound.is_ok_and(|change| change.changed));
        assert!(
            vhost
                .delete_exchange(&ShortString::from_static("z"), false, &all)
                .is_ok()
        );
    });
    // As it was when the message came there: the queue has gone since, and says so to whoever puts something in.
    assert_eq!(found, ["q"]);
    assert_eq!(queues(&bench.vhost, "slow", ""), ["new"]);
    assert!(
        bench
            .vhost
            .delete_exchange(&ShortString::from_static("slow"), false, &all)
            .is_ok()
    );
}

#[test]
fn an_exchange_that_is_deleted_while_a_message_is_in_it_still_routes_that_one() {
    let bench = Bench::new();
    bench.slow("slow");
    for (source, kind, destination) in [
        ("slow", DestinationKind::Exchange, "y"),
        ("y", DestinationKind::Queue, "q"),
        ("slow", DestinationKind::Queue, "q"),
    ] {
        let bound = bench.vhost.bind(to(source, kind, destination), &actor(&Right::ALL));
        assert!(bound.is_ok());
    }
    let found = queues_meanwhile(&bench.vhost, "slow", |vhost| {
        for name in ["slow", "y"] {
            let name = ShortString::from_static(name);
            assert!(vhost.delete_exchange(&name, false, &actor(&Right::ALL)).is_ok());
        }
        assert!(vhost.topology().incoming.is_empty());
    });
    assert_eq!(found, ["q"]);
}

/// The alternate exchange belongs to the state that the look-up saw, and a policy that changes it doesn't wait.
#[test]
fn an_alternate_exchange_is_of_the_same_moment_as_the_bindings() {
    let bench = Bench::new();
    bench.slow("slow");
    let put = |vhost: &Vhost, alternate: &'static str| {
        let field = |name, value| (ShortString::from_static(name), value);
        let definition = FieldTable(vec![field("alternate-exchange", alternate.into())]);
        let fields = FieldTable(vec![
            field("pattern", "^slow$".into()),
            field("definition", FieldValue::Table(definition)),
        ]);
        let policy = Policy::parse(Class::User, "alternate", &fields).expect("a policy");
        assert!(vhost.put_policy(Class::User, policy, &actor(&Right::ALL)).is_ok());
    };
    let bound = to("y", DestinationKind::Queue, "q");
    assert!(bench.vhost.bind(bound, &actor(&Right::ALL)).is_ok());
    put(&bench.vhost, "y");
    let found = queues_meanwhile(&bench.vhost, "slow", move |vhost| put(vhost, "x"));
    assert_eq!(found, ["q"]);
    assert!(queues(&bench.vhost, "slow", "").is_empty());
}
