//! The registry of vhosts over a real log.

use super::{Deletion, Vhosts};
use crate::access::Actor;
use crate::access::permissions::Permissions;
use crate::clients::Registry;
use crate::limits::{Memory, Quota, Quotas};
use crate::vhost::Vhost;
use crate::vhost::ids::{self, QueueIds};
use crate::vhost::settings::{Limit, Settings};
use crate::vhost::shared::Shared;
use leveret_amqp::ShortString;
use leveret_amqp::method::{ExchangeDeclare, QueueDeclare};
use leveret_store::fs::RealFs;
use leveret_store::{Options, Recovered, Store};
use std::sync::Arc;
use tempfile::TempDir;

/// A registry, with what is under it.
struct Bench {
    vhosts: Vhosts,
    clients: Registry,
    store: Store,
    /// Entries of the table, as they were at the start.
    entries: usize,
}

impl Bench {
    fn open(folder: &TempDir) -> Self {
        let opened = Store::open(
            Options::new(folder.path()),
            Arc::new(RealFs),
            Box::new(|_| {}),
            Box::new(|_| {}),
        );
        let (store, Recovered { table, .. }) = opened.expect("a log");
        let (memory, quotas) = (Arc::new(Memory::new(u64::MAX)), Arc::<Quotas>::default());
        let ids = QueueIds::recovered(table.get(ids::KEY).map(|value| value.as_ref()));
        let shared = Shared::new(store.handle(), memory.clone(), ids, None, quotas.clone());
        let entries = table.iter().map(|(key, value)| (&**key, &**value));
        Self {
            vhosts: Vhosts::restore(shared, entries).expect("an open log"),
            clients: Registry::new(memory, quotas),
            store,
            entries: table.len(),
        }
    }

    fn reopen(self, folder: &TempDir) -> Self {
        drop(self.vhosts);
        self.store.close().expect("closes");
        Self::open(folder)
    }

    fn put(&self, name: &str) -> Arc<Vhost> {
        assert!(self.vhosts.put(name, &actor(), |_| ()).expect("room").created);
        self.vhosts.get(name).expect("a vhost")
    }

    fn delete(&self, name: &str) -> Deletion {
        self.vhosts
            .delete(name, &self.clients, &actor(), |_| ())
            .expect("an open log")
    }

    fn names(&self) -> Vec<String> {
        self.vhosts.list().iter().map(|vhost| vhost.name.clone()).collect()
    }
}

fn actor() -> Actor {
    Actor::new("guest", Permissions::ALL)
}

/// Queues and exchanges in a vhost, so many of each.
fn fill(vhost: &Vhost, many: usize) {
    for number in 0..many {
        let queue = QueueDeclare {
            queue: ShortString::truncated(&format!("q{number}")),
            durable: true,
            ..QueueDeclare::default()
        };
        let exchange = ExchangeDeclare {
            exchange: ShortString::truncated(&format!("x{number}")),
            kind: ShortString::from_static("topic"),
            durable: true,
            ..ExchangeDeclare::default()
        };
        assert!(vhost.declare_queue(&queue, &actor()).is_ok());
        assert!(vhost.declare_exchange(&exchange, &actor()).is_ok());
    }
}

#[test]
fn a_new_directory_has_one_vhost_which_can_be_deleted_for_good() {
    let folder = TempDir::new().expect("a folder");
    let bench = Bench::open(&folder);
    assert_eq!(bench.names(), ["/"]);
    assert_eq!(
        bench.vhosts.get("/").expect("it").settings().description,
        "Default virtual host"
    );
    assert!(matches!(bench.delete("/"), Deletion::Done(_)));
    assert!(matches!(bench.delete("/"), Deletion::Missing));
    let bench = bench.reopen(&folder);
    assert_eq!(bench.names(), [""; 0]);
    bench.put("/");
    assert_eq!(bench.reopen(&folder).names(), ["/"]);
}

#[test]
fn settings_and_objects_are_there_after_a_restart() {
    let folder = TempDir::new().expect("a folder");
    let bench = Bench::open(&folder);
    let (a, b) = (bench.put("a"), bench.put("b"));
    fill(&a, 3);
    let set = bench
        .vhosts
        .put("b", &actor(), |settings| settings.tags = vec!["t".into()]);
    assert!(!set.expect("room").created);
    let limit = Some((Limit::Queues, Some(2)));
    assert!(bench.vhosts.limit("b", limit, &actor()).expect("an open log").is_some());
    assert!(bench.vhosts.limit("c", limit, &actor()).expect("an open log").is_none());
    assert!(bench.vhosts.protect("b", true).expect("an open log").is_some());
    assert!(matches!(bench.delete("b"), Deletion::Protected));
    let kept = b.settings();
    assert_eq!((kept.most(Limit::Queues), kept.is_protected()), (Some(2), true));
    drop((a, b));
    let bench = bench.reopen(&folder);
    assert_eq!(bench.names(), ["/", "a", "b"]);
    assert_eq!(*bench.vhosts.get("b").expect("it").settings(), *kept);
    assert_eq!(bench.vhosts.get("a").expect("it").queues().len(), 3);
    assert_eq!(bench.vhosts.shared.queues.all().len(), 3);
}

#[test]
fn a_deleted_vhost_leaves_nothing_behind() {
    let folder = TempDir::new().expect("a folder");
    let bench = Bench::open(&folder);
    let quotas = bench.vhosts.shared.quotas.clone();
    let used = || Quota::ALL.map(|quota| quotas.used(quota));
    let before = used();
    let vhost = bench.put("a");
    // More than are deleted at a time.
    fill(&vhost, 300);
    let created = bench.vhosts.churned().queues[1];
    assert!(matches!(bench.delete("a"), Deletion::Done(_)));
    assert_eq!(used(), before);
    assert_eq!(bench.vhosts.churned().queues, [300, created, 300], "counts stay");
    assert!(bench.vhosts.shared.queues.all().is_empty());
    let queue = QueueDeclare {
        queue: ShortString::from_static("q"),
        ..QueueDeclare::default()
    };
    let refused = vhost
        .declare_queue(&queue, &actor())
        .map(drop)
        .expect_err("it has gone");
    assert_eq!(
        refused.reply_text().to_str_lossy(),
        "CONNECTION_FORCED - vhost 'a' is deleted"
    );
    assert_eq!(Arc::strong_count(&vhost), 1);
    drop(vhost);
    let bench = bench.reopen(&folder);
    // `/`, that there are vhosts, and numbers of queues.
    assert_eq!((bench.names(), bench.entries), (vec!["/".to_owned()], 3));
}

#[test]
fn a_deletion_that_was_broken_off_goes_on_at_the_next_start() {
    let folder = TempDir::new().expect("a folder");
    let bench = Bench::open(&folder);
    fill(&bench.put("a"), 300);
    fill(&bench.put("b"), 2);
    let mut records = leveret_store::Batch::default();
    let (key, settings) = (crate::vhost::record::vhost_key("a"), Settings::default());
    records.put(&key, &crate::vhost::record::vhost_value(&settings, true));
    let handle = bench.store.handle();
    assert!(handle.append(&mut records, leveret_store::Urgency::Now).is_ok());
    drop(handle);
    let bench = bench.reopen(&folder);
    assert_eq!(bench.names(), ["/", "b"]);
    assert_eq!(bench.vhosts.shared.queues.all().len(), 2);
    let bench = bench.reopen(&folder);
    // `/`, `b` with 2 queues and 2 exchanges, that there are vhosts, and numbers of queues.
    assert_eq!((bench.names().len(), bench.entries), (2, 8));
}

#[test]
fn there_are_as_many_vhosts_as_there_may_be() {
    let folder = TempDir::new().expect("a folder");
    let bench = Bench::open(&folder);
    let most = crate::limits::Most::each::<()>(|quota| Ok((quota == Quota::Vhosts).then_some(2)));
    bench.vhosts.shared.quotas.set(&most.expect("numbers"));
    bench.put("a");
    let refused = bench
        .vhosts
        .put("b", &actor(), |_| ())
        .map(drop)
        .expect_err("as many as may be");
    assert_eq!(
        refused.to_string(),
        "cannot create vhost 'b': vhost limit of 2 is reached"
    );
    assert!(!bench.vhosts.put("a", &actor(), |_| ()).expect("it is there").created);
    assert!(matches!(bench.delete("a"), Deletion::Done(_)));
    bench.put("b");
}
