//! What is exported, read again, is what was there.

use proptest::prelude::*;

use super::*;
use crate::command::plan::changes::changes;
use crate::command::{lint, live::Live};
use crate::object::{Hash, Kind, ObjectKey};
use crate::source::folder::read::read_once;
use crate::topology::user::UserDefinition;
use crate::topology::{Arguments, BindingDefinition, End, ExchangeDefinition, Name, QueueDefinition};

fn args() -> ExportArgs {
    ExportArgs {
        broker: "main".to_owned(),
        namespace: None,
        vhost: Vec::new(),
        password_hashes: false,
        live: LiveArgs::default(),
    }
}

fn arguments(value: Value) -> Arguments {
    serde_json::from_value(value).expect("arguments")
}

/// The lines of `plan` about an export; the last one is the sum.
fn plan(topology: &Topology) -> (Export, Vec<String>) {
    let export = export(topology, &args());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("all.yaml"), export.yaml()).expect("a file");
    let manifests = read_once(folder.path(), None).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let mut snapshot = lint::snapshot(&manifests);
    let broker = ObjectKey::new(Kind::Broker, "default", "main");
    let meta = crate::object::Meta::fresh(broker.clone());
    let spec = crate::resource::BrokerSpec::default();
    snapshot.put(meta, spec);
    let live = Live {
        topology: topology.clone(),
        ..Live::default()
    };
    let asked = manifests.objects.keys().cloned().collect();
    let found = changes(&snapshot, &broker, &live, &asked);
    (export, found.to_string().lines().map(str::to_owned).collect())
}

fn exchange(kind: &str, value: Value) -> ExchangeDefinition {
    ExchangeDefinition {
        kind: kind.to_owned(),
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: arguments(value),
    }
}

#[test]
fn all_sorts_of_things_come_back_as_they_were() {
    let mut topology = Topology::default();
    for (vhost, name, definition) in [
        (
            "/",
            "orders",
            exchange("topic", json!({"alternate-exchange": "Un routed"})),
        ),
        ("/", "Un routed", exchange("fanout", json!({}))),
        (
            "/",
            "delayed",
            exchange("x-delayed-message", json!({"x-delayed-type": "direct"})),
        ),
        ("shop", "orders", exchange("direct", json!({}))),
        ("/", "amq.topic", exchange("topic", json!({}))),
        ("/", "", exchange("direct", json!({}))),
    ] {
        topology.exchanges.insert(Name::new(vhost, name), definition);
    }
    for (name, durable, exclusive, value) in [
        ("invoices", true, false, json!({})),
        (
            "ledger",
            true,
            false,
            json!({"x-queue-type": "quorum", "x-delivery-limit": 5, "x-dead-letter-exchange": ""}),
        ),
        (
            "full",
            true,
            false,
            json!({"x-max-length": 5, "x-overflow": "reject-publish", "x-message-ttl": 90_000,
            "x-expires": 1_500, "x-max-priority": 3, "x-something": [1, {"a": 1.5}], "x-single-active-consumer": true,
            "x-dead-letter-exchange": "orders", "x-dead-letter-routing-key": "dead"}),
        ),
        ("log", true, false, json!({"x-queue-type": "stream", "x-max-age": "7D"})),
        ("Größe 1/2", false, false, json!({"x-dead-letter-routing-key": "alone"})),
        ("größe 1/2", true, false, json!({})),
        ("mine", false, true, json!({})),
        ("amq.gen-x", false, false, json!({})),
    ] {
        let queue = QueueDefinition::new(durable, false, exclusive, arguments(value));
        topology.queues.insert(Name::new("/", name), queue);
    }
    for (source, end, destination, key, value) in [
        ("orders", End::Queue, "invoices", "a.*", json!({})),
        ("orders", End::Queue, "invoices", "a.#", json!({})),
        (
            "orders",
            End::Queue,
            "invoices",
            "a.#",
            json!({"x-match": "any", "n": 1}),
        ),
        ("orders", End::Exchange, "Un routed", "", json!({})),
        ("amq.topic", End::Queue, "Größe 1/2", "ü", json!({})),
        ("orders", End::Queue, "mine", "", json!({})),
    ] {
        topology.bindings.insert(BindingDefinition {
            vhost: "/".to_owned(),
            source: source.to_owned(),
            end,
            destination: destination.to_owned(),
            routing_key: key.to_owned(),
            arguments: arguments(value),
        });
    }
    let (export, plan) = plan(&topology);
    assert_eq!(export.left_out, Vec::<String>::new());
    assert_eq!(
        plan,
        ["0 to create, 0 to update, 0 to delete, 0 refused, 15 as declared"]
    );
    let full = export
        .manifests
        .iter()
        .find(|one| one["metadata"]["name"] == "full")
        .expect("full");
    assert_eq!(
        full["spec"],
        json!({"brokerRef": {"name": "main"}, "maxLength": 5, "overflow": "reject-publish", "messageTtl": "90s",
            "expires": "1500ms", "maxPriority": 3, "singleActiveConsumer": true,
            "deadLetter": {"exchange": "orders", "routingKey": "dead"}, "arguments": {"x-something": [1, {"a": 1.5}]}})
    );
}

#[test]
fn what_no_manifest_can_say_is_left_out_with_a_reason() {
    let mut topology = Topology::default();
    let odd = QueueDefinition::new(true, false, false, arguments(json!({"x-queue-type": "other"})));
    topology.queues.insert(Name::new("/", "odd"), odd);
    topology
        .exchanges
        .insert(Name::new("/", "a\nb"), exchange("direct", json!({})));
    let found = export(&topology, &args());
    assert_eq!(found.manifests, Vec::<Value>::new());
    assert_eq!(found.left_out.len(), 2);
    assert!(
        found.left_out[1].starts_with("queue 'odd': spec.type:"),
        "{:?}",
        found.left_out
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the names: they come back, or are left out with a reason.
    #[test]
    fn names_come_back(names in proptest::collection::btree_set("[ -~äß\n]{1,12}", 1..8)) {
        let mut topology = Topology::default();
        for name in names {
            let queue = QueueDefinition::new(true, false, false, Arguments::default());
            topology.queues.insert(Name::new("/", name), queue);
        }
        let exported = export(&topology, &args());
        let reserved = topology.queues.keys().filter(|name| name.is_reserved()).count();
        prop_assert_eq!(exported.manifests.len() + exported.left_out.len() + reserved, topology.queues.len());
        if !exported.manifests.is_empty() {
            let (_, plan) = plan(&topology);
            prop_assert!(plan.len() == 1, "{:?}", plan);
        }
    }
}

#[test]
fn users_come_without_passwords_unless_hashes_are_asked_for() {
    let user = |password: &str| UserDefinition {
        tags: ["management".to_owned()].into(),
        permissions: [("/".to_owned(), ["", "", ".*"].map(str::to_owned))].into(),
        password: Some(Hash::new("rabbit_password_hashing_sha256", password)),
        ..UserDefinition::default()
    };
    let mut topology = Topology::default();
    for (name, password) in [
        ("Till 1", "aGFzaA=="),
        ("guest", "Z3Vlc3Q="),
        ("system:serviceaccount:shop:till", ""),
        ("certificate", ""),
    ] {
        topology.users.insert(Name::new("", name), user(password));
    }
    let (export, lines) = plan(&topology);
    assert_eq!(export.left_out, ["user 'guest': it is the one that exports"]);
    let text = export.yaml();
    assert!(
        !text.contains("aGFzaA==") && text.contains("name: \"Till 1\""),
        "{text}"
    );
    assert!(
        text.contains("serviceAccount:") && text.contains("namespace: shop"),
        "{text}"
    );
    assert_eq!(lines.len(), 1, "what is there is what is wanted: {lines:?}");
    let mut args = args();
    args.password_hashes = true;
    let with_hashes = super::export(&topology, &args).yaml();
    assert!(
        with_hashes.contains("aGFzaA==") && !with_hashes.contains("Z3Vlc3Q="),
        "{with_hashes}"
    );
    args.vhost = vec!["other".to_owned()];
    assert_eq!(super::export(&topology, &args).manifests.len(), 0);
}
