//! A vhost from a table that an earlier version has left.

use super::super::ids::QueueIds;
use super::super::record;
use super::super::shared::Shared;
use super::super::state::Vhost;
use super::restore;
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

fn restored(store: &Store, recovered: &Recovered) -> Arc<Vhost> {
    let memory = Arc::new(Memory::new(u64::MAX));
    let ids = QueueIds::recovered(None);
    let shared = Shared::new(store.handle(), memory, ids, None, Arc::default());
    let table = recovered.table.iter();
    let vhosts = restore(&shared, table.map(|(key, value)| (&**key, &**value)));
    let mut vhosts = vhosts.expect("an open log");
    assert_eq!((vhosts.len(), shared.queues.all().len()), (1, 0));
    vhosts.remove(0)
}

fn bindings(vhost: &Vhost) -> usize {
    let topology = vhost.topology();
    let exchange = topology.exchanges.get(&b"amq.fanout"[..]);
    exchange.expect("predeclared").bindings().len()
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
    let vhost_then = restored(&store, &recovered);
    let actor = Actor::new("guest", Permissions::ALL);
    assert_eq!(bindings(&vhost_then), 1);
    let _ = vhost_then.unbind(&binding, &actor).expect("a binding");
    drop((vhost_then, store));

    let (store, recovered) = open(folder.path());
    assert_eq!(bindings(&restored(&store, &recovered)), 0);
}
