//! Objects of several kinds together.

use super::*;

#[test]
fn removing_an_end_takes_its_bindings_along() {
    let binding = |source: &str, end, destination: &str| BindingDefinition {
        vhost: "/".to_owned(),
        source: source.to_owned(),
        end,
        destination: destination.to_owned(),
        routing_key: String::new(),
        arguments: Arguments::default(),
    };
    let mut topology = Topology::default();
    for name in ["x", "y"] {
        topology
            .exchanges
            .insert(Name::new("/", name), ExchangeDefinition::default());
    }
    topology.queues.insert(Name::new("/", "x"), QueueDefinition::default());
    topology.bindings.insert(binding("y", End::Queue, "x"));
    topology.bindings.insert(binding("y", End::Exchange, "x"));
    assert!(topology.remove(&Identity::Queue(Name::new("/", "x"))));
    assert_eq!(topology.bindings, BTreeSet::from([binding("y", End::Exchange, "x")]));
    assert!(!topology.remove(&Identity::Exchange(Name::new("other", "x"))));
    assert!(topology.remove(&Identity::Exchange(Name::new("/", "x"))));
    assert!(topology.bindings.is_empty());
}
