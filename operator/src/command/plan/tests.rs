//! What an apply would change, on topologies in memory.

use std::collections::BTreeSet;

use super::*;
use crate::command::live::Live;
use crate::object::Snapshot;
use crate::source::folder::read::Manifests;
use crate::topology::backlog::Backlog;
use crate::topology::{BindingDefinition, End, ExchangeDefinition, Identity, Name, QueueDefinition, Topology};

const FOLDER: &str = "
apiVersion: leveret.dev/v1alpha1
kind: Exchange
metadata: { name: orders }
spec: { brokerRef: { name: main }, type: topic }
---
apiVersion: leveret.dev/v1alpha1
kind: Queue
metadata: { name: invoices }
spec: { brokerRef: { name: main } }
---
apiVersion: leveret.dev/v1alpha1
kind: Binding
metadata: { name: b }
spec: { brokerRef: { name: main }, source: orders, destination: { queue: invoices }, routingKey: new }
";

fn manifests(text: &str) -> Manifests {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.yaml"), text).expect("a file");
    read_once(folder.path(), None).expect("manifests")
}

fn main_broker() -> ObjectKey {
    ObjectKey::new(Kind::Broker, "default", "main")
}

fn plan(snapshot: Snapshot, live: &Live) -> Vec<String> {
    let asked: BTreeSet<ObjectKey> = snapshot.on_brokers().cloned().collect();
    let found = changes(&lead_to(&main_broker(), snapshot), &main_broker(), live, &asked);
    found.to_string().lines().map(str::to_owned).collect()
}

fn binding(key: &str) -> BindingDefinition {
    BindingDefinition {
        vhost: "/".to_owned(),
        source: "orders".to_owned(),
        end: End::Queue,
        destination: "invoices".to_owned(),
        routing_key: key.to_owned(),
        arguments: crate::topology::Arguments::default(),
    }
}

fn as_declared() -> Live {
    let mut topology = Topology::default();
    let topic = ExchangeDefinition {
        kind: "topic".to_owned(),
        durable: true,
        ..ExchangeDefinition::default()
    };
    topology.exchanges.insert(Name::new("/", "orders"), topic);
    let queue = QueueDefinition::new(true, false, false, crate::topology::Arguments::default());
    topology.queues.insert(Name::new("/", "invoices"), queue);
    topology.bindings.insert(binding("new"));
    Live {
        topology,
        ..Live::default()
    }
}

#[test]
fn everything_is_new_on_an_empty_broker() {
    let found = plan(lint::snapshot(&manifests(FOLDER)), &Live::default());
    assert_eq!(
        found,
        [
            "+ Exchange default/orders: declare exchange 'orders' (topic)",
            "+ Queue default/invoices: declare queue 'invoices'",
            "+ Binding default/b: add the binding of exchange 'orders' to queue 'invoices' by 'new'",
            "3 to create, 0 to update, 0 to delete, 0 refused, 0 as declared",
        ]
    );
}

#[test]
fn nothing_where_all_stands() {
    let found = plan(lint::snapshot(&manifests(FOLDER)), &as_declared());
    assert_eq!(
        found,
        ["0 to create, 0 to update, 0 to delete, 0 refused, 3 as declared"]
    );
}

#[test]
fn what_differs_is_refused_and_what_is_edited_is_updated() {
    let mut live = as_declared();
    live.topology.bindings = BTreeSet::from([binding("old")]);
    if let Some(queue) = live.topology.queues.get_mut(&Name::new("/", "invoices")) {
        queue.durable = false;
    }
    let mut snapshot = lint::snapshot(&manifests(FOLDER));
    let owned = BTreeSet::from([Identity::Binding(binding("old"))]);
    let edited = snapshot.any_mut(&ObjectKey::new(Kind::Binding, "default", "b"));
    edited.expect("the binding").meta_mut().status = crate::sync::report::remember(&owned);
    assert_eq!(
        plan(snapshot, &live),
        [
            "! Queue default/invoices: Mismatch: queue 'invoices' exists and differs: durable is false on the broker, \
             wanted true",
            "~ Binding default/b: add the binding of exchange 'orders' to queue 'invoices' by 'new', remove the binding \
             of exchange 'orders' to queue 'invoices' by 'old'",
            "0 to create, 1 to update, 0 to delete, 1 refused, 1 as declared",
        ]
    );
}

#[test]
fn deletions_and_vhosts_that_the_broker_would_refuse() {
    let mut live = as_declared();
    let name = Name::new("/", "invoices");
    let backlog = Backlog {
        ready: 2,
        unacked: 1,
        ..Backlog::default()
    };
    live.backlogs.insert(name.clone(), backlog);
    live.vhosts = Some(BTreeSet::from(["/".to_owned()]));
    let text = FOLDER.replace("type: topic", "type: topic, vhost: shop, name: orders");
    let mut snapshot = lint::snapshot(&manifests(&text));
    snapshot.clear(Kind::Binding);
    let leaving = snapshot.any_mut(&ObjectKey::new(Kind::Queue, "default", "invoices"));
    let meta = leaving.expect("the queue").meta_mut();
    meta.deleting = Some(0);
    meta.status = crate::sync::report::remember(&BTreeSet::from([Identity::Queue(name.clone())]));
    assert_eq!(
        plan(snapshot, &live),
        [
            "! Exchange default/orders: WaitingForVhost: vhost 'shop' does not exist",
            "! Queue default/invoices: DeletionBlocked: queue 'invoices' holds 3 messages",
            "0 to create, 0 to update, 0 to delete, 2 refused, 0 as declared",
        ]
    );
}
