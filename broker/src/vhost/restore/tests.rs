//! A vhost from a table that an earlier version has left.

use super::super::ids::QueueIds;
use super::super::record;
use super::super::state::Vhost;
use crate::access::Actor;
use crate::access::permissions::Permissions;
use crate::exchange::binding::{Binding, DestinationKind};
use crate::limits::Memory;
use leveret_amqp::{FieldTable, FieldValue, ShortString};
use leveret_store::fs::RealFs;
use leveret_store::{Batch, Options, Recovered, Store, Urgency};
use std::path::Path;
use std::sync::Arc;

fn open(folder: &Path) -> (Store, Recovered) {
    let opened = Store::open(
        Options::new(folder),
        Arc::new(RealFs),
        Box::new(|_| {}),
        Box::new(|_| {}),
    );
    opened.expect("a log")
}

fn vhost(store: &Store) -> Arc<Vhost> {
    let ids = Arc::new(QueueIds::recovered(None));
    Vhost::new(
        "/".into(),
        store.handle(),
        Arc::new(Memory::new(u64::MAX)),
        ids,
        None,
        Arc::default(),
    )
}

fn restored(vhost: &Vhost, recovered: &Recovered) -> usize {
    let table = recovered.table.iter();
    let queues = vhost.restore(table.map(|(key, value)| (&**key, &**value)));
    assert!(queues.expect("an open log").is_empty());
    let topology = vhost.topology();
    topology
        .exchanges
        .get(&b"amq.fanout"[..])
        .expect("predeclared")
        .bindings()
        .len()
}

#[test]
fn a_binding_kept_in_another_order_can_be_removed_for_good() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let field = |name: &'static str| (ShortString::from_static(name), FieldValue::Int(1));
    let binding = Binding {
        source: ShortString::from_static("amq.fanout"),
        destination_kind: DestinationKind::Exchange,
        destination: ShortString::from_static("amq.topic"),
        routing_key: ShortString::new(),
        arguments: FieldTable(vec![field("b"), field("a")]).into(),
    };
    let sorted = record::binding_key("/", &binding);
    let mut arguments = Vec::new();
    binding.arguments.encode(&mut arguments);
    let mut unsorted = sorted[..sorted.len() - arguments.len()].to_vec();
    FieldTable(vec![field("b"), field("a")]).encode(&mut unsorted);
    assert_ne!(sorted, unsorted);

    let (store, _) = open(folder.path());
    let mut records = Batch::default();
    records.put(&unsorted, &record::binding_value());
    store.handle().append(&mut records, Urgency::Now).expect("an open log");
    drop(store);

    let (store, recovered) = open(folder.path());
    let vhost_then = vhost(&store);
    let actor = Actor {
        user: "guest".into(),
        connection: None,
        permissions: Permissions::ALL,
    };
    assert_eq!(restored(&vhost_then, &recovered), 1);
    let _ = vhost_then.unbind(&binding, &actor).expect("a binding");
    drop((vhost_then, store));

    let (store, recovered) = open(folder.path());
    assert_eq!(restored(&vhost(&store), &recovered), 0);
}
