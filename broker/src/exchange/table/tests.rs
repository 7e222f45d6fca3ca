//! Changes during look-ups, on one thread and on several.

use super::super::binding::DestinationKind;
use super::super::{Properties, direct, fanout};
use super::*;
use leveret_amqp::RawTable;
use std::sync::atomic::AtomicUsize;
use std::thread;

/// A table, and the bindings that it has or had, by number.
struct Bench {
    table: RoutingTable,
    bindings: Vec<(Arc<Binding>, Target)>,
}

impl Bench {
    fn new(kind: &super::super::Type, bindings: usize) -> Self {
        let router = (kind.router)(&RawTable::new()).expect("it takes no arguments");
        Self {
            table: RoutingTable::new(router, None, false),
            bindings: (0..bindings).map(binding).collect(),
        }
    }

    fn bind(&self, number: usize) {
        let (binding, target) = self.bindings[number].clone();
        self.table.change(Change::Bind(binding, target));
    }

    fn unbind(&self, number: usize) {
        let (binding, target) = self.bindings[number].clone();
        self.table.change(Change::Unbind(binding, target));
    }

    fn look(&self) -> Vec<String> {
        self.table.look(found)
    }

    fn is_behind(&self) -> bool {
        !self.table.late.lock().is_empty()
    }
}

fn binding(number: usize) -> (Arc<Binding>, Target) {
    let name = ShortString::truncated(&format!("{number:03}"));
    let binding = Binding {
        source: ShortString::from_static("x"),
        destination_kind: DestinationKind::Exchange,
        destination: name.clone(),
        routing_key: ShortString::from_static("k"),
        arguments: [].into_iter().collect(),
    };
    (Arc::new(binding), Target::Exchange(name))
}

/// Destinations of a message with the key `k`, in order.
fn found(state: &State) -> Vec<String> {
    let mut found = Vec::new();
    let routing = Routing {
        keys: &[b"k"],
        properties: &Properties::default(),
    };
    let routed = state.route(&routing, &mut Steps::new(1_000), &mut |target| {
        if let Target::Exchange(name) = target {
            found.push(name.to_str_lossy().into_owned());
        }
    });
    assert_eq!(routed, Ok(()));
    found.sort();
    found
}

#[test]
fn a_look_up_sees_one_state_and_the_next_all_that_has_changed_meanwhile() {
    let bench = Bench::new(&direct::TYPE, 3);
    let other = ShortString::from_static("other");
    bench.bind(0);
    bench.table.look(|state| {
        // None of them waits for the look-up, in which this thread is itself.
        bench.bind(1);
        bench.unbind(0);
        bench.bind(2);
        bench.unbind(2);
        bench.table.change(Change::Alternate(Some(other.clone())));
        assert_eq!((found(state), state.alternate()), (vec!["000".to_owned()], None));
        assert!(bench.is_behind());
    });
    assert!(!bench.is_behind(), "who leaves last makes them");
    assert_eq!(bench.look(), ["001"]);
    assert_eq!(bench.table.look(|state| state.alternate().cloned()), Some(other));
}

#[test]
fn a_change_after_the_look_up_finds_the_earlier_ones_made() {
    let bench = Bench::new(&fanout::TYPE, 2);
    bench.table.look(|_| {
        bench.bind(0);
        // The same binding again is another one: its place in the order counts.
        bench.unbind(0);
        bench.bind(0);
    });
    bench.unbind(0);
    bench.bind(1);
    assert_eq!(bench.look(), ["001"]);
}

/// Threads look while another one binds: each sees the bindings that were made before its look-up began, and of those
/// made meanwhile the first few.
#[test]
fn looking_and_changing_at_the_same_time_loses_and_reorders_nothing() {
    const BINDINGS: usize = 300;
    let bench = Bench::new(&fanout::TYPE, BINDINGS);
    let (made, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let look_until_the_end = || {
        loop {
            let before = made.load(Ordering::Acquire);
            let seen = bench.look();
            let expected: Vec<String> = (0..seen.len()).map(|number| format!("{number:03}")).collect();
            assert_eq!(seen, expected);
            assert!(seen.len() >= before, "{} of {before}", seen.len());
            turns.fetch_add(1, Ordering::Relaxed);
            if before == BINDINGS {
                return;
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(look_until_the_end)).collect();
        for number in 0..BINDINGS {
            bench.bind(number);
            made.store(number + 1, Ordering::Release);
            let turn = turns.load(Ordering::Relaxed);
            // Lets them have a look now and then.
            while number % 10 == 0
                && turns.load(Ordering::Relaxed) == turn
                && !threads.iter().any(|it| it.is_finished())
            {
                thread::yield_now();
            }
        }
    });
    assert!(!bench.is_behind());
    assert_eq!(bench.look().len(), BINDINGS);
}
