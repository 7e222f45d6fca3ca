//! What a Broker lets other namespaces ask for.

use super::*;
use crate::sync::difference::{Verdict, difference};
use crate::topology::Topology;

const RULES: &str = r#"
- namespaces: [web]
  vhosts: [web, "web-*"]
  kinds: [Vhost, Policy, Exchange, Queue, Binding]
  maxObjects: { Queue: 2 }
- namespaces: [web, jobs]
  vhosts: [/]
  names: ["jobs.*", "amq.topic"]
  sources: ["public.*"]
  namesOf: { Policy: ["*"] }
  kinds: [Queue, Exchange, Binding, Policy]
"#;

fn rules() -> Value {
    let rules: Value = serde_yaml::from_str(RULES).expect("YAML");
    json!({"from": "All", "rules": rules})
}

fn to_main(mut spec: Value) -> Value {
    spec["brokerRef"] = json!({"name": "main", "namespace": "shop"});
    spec
}

/// The Broker `shop/main` with `allowed`, and one more object.
fn with(allowed: Value, kind: Kind, namespace: &str, spec: Value) -> Snapshot {
    snapshot(&[
        (Kind::Broker, "shop", "main", 0, json!({"allowedNamespaces": allowed})),
        (kind, namespace, "it", 1, to_main(spec)),
    ])
}

fn refusal(allowed: Value, kind: Kind, namespace: &str, spec: Value) -> Option<String> {
    let snapshot = with(allowed, kind, namespace, spec);
    match standing(&desired(&snapshot, &main_broker()), "it") {
        Standing::Refused(Reason::NotAllowed, message) => Some(message),
        Standing::Wanted(_) => None,
        other => panic!("{other:?}"),
    }
}

fn policy(vhost: &str, pattern: &str) -> Value {
    json!({"vhost": vhost, "name": "jobs.p", "pattern": pattern, "applyTo": "queues", "definition": {"max-length": 5}})
}

#[test]
fn without_rules_others_have_what_reaches_no_further_than_its_name() {
    let all = || json!({"from": "All"});
    let binding = json!({"vhost": "a", "source": "x", "destination": {"queue": "q"}});
    for (kind, spec) in [
        (Kind::Queue, json!({"vhost": "a"})),
        (Kind::Exchange, json!({})),
        (Kind::Binding, binding),
    ] {
        assert_eq!(refusal(all(), kind, "web", spec), None, "{kind}");
    }
    for (kind, spec) in [
        (Kind::Vhost, json!({})),
        (Kind::Policy, policy("/", ".*")),
        (Kind::OperatorPolicy, policy("/", ".*")),
        (Kind::User, json!({})),
    ] {
        let expected = format!(
            "Broker shop/main allows no {kind} from namespace web without a rule that says so (its \
             allowedNamespaces.rules)"
        );
        assert_eq!(refusal(all(), kind, "web", spec.clone()), Some(expected));
        assert_eq!(refusal(all(), kind, "shop", spec.clone()), None, "its own namespace");
        assert_eq!(refusal(rules(), kind, "shop", spec), None, "its own namespace");
    }
}

#[test]
fn a_rule_lets_in_what_it_says() {
    for (kind, namespace, spec) in [
        (Kind::Vhost, "web", json!({"name": "web-eu"})),
        (Kind::Queue, "web", json!({"vhost": "web", "name": "any"})),
        (Kind::Policy, "web", policy("web", ".*")),
        (Kind::Queue, "jobs", json!({"name": "jobs.a"})),
        (Kind::Queue, "web", json!({"name": "jobs.b"})),
        (
            Kind::Queue,
            "jobs",
            json!({"name": "jobs.a", "deadLetter": {"exchange": "", "routingKey": "jobs.b"}}),
        ),
        (
            Kind::Binding,
            "jobs",
            json!({"source": "amq.topic", "destination": {"queue": "jobs.a"}}),
        ),
        (
            Kind::Binding,
            "jobs",
            json!({"source": "public.x", "destination": {"queue": "jobs.a"}}),
        ),
        (Kind::Policy, "jobs", policy("/", r"^jobs\.")),
    ] {
        assert_eq!(
            refusal(rules(), kind, namespace, spec.clone()),
            None,
            "{kind} {namespace} {spec}"
        );
    }
}

#[test]
fn what_reaches_beyond_is_refused_with_rule_value_and_what_is_allowed() {
    let binding = |source: &str, queue: &str| json!({"source": source, "destination": {"queue": queue}});
    let dead = |exchange: &str| json!({"name": "jobs.a", "deadLetter": {"exchange": exchange}});
    let dead_key = json!({"name": "jobs.a", "deadLetter": {"exchange": "", "routingKey": "theirs"}});
    let mut dead_policy = policy("/", r"^jobs\.");
    dead_policy["definition"] = json!({"dead-letter-exchange": "theirs"});
    for (kind, namespace, spec, what) in [
        (
            Kind::Queue,
            "jobs",
            json!({"vhost": "web", "name": "jobs.a"}),
            "vhost 'web' is not one of /",
        ),
        (
            Kind::Queue,
            "jobs",
            json!({"name": "theirs"}),
            "queue 'theirs' is not one of jobs.*, amq.topic",
        ),
        (
            Kind::Exchange,
            "jobs",
            json!({"name": "x"}),
            "exchange 'x' is not one of jobs.*, amq.topic",
        ),
        (
            Kind::Exchange,
            "jobs",
            json!({"name": "jobs.x", "alternateExchange": "theirs"}),
            "exchange 'theirs' is not one of jobs.*, amq.topic",
        ),
        (
            Kind::Exchange,
            "jobs",
            json!({"name": "jobs.x", "arguments": {"alternate-exchange": "theirs"}}),
            "exchange 'theirs' is not one of jobs.*, amq.topic",
        ),
        (
            Kind::Queue,
            "jobs",
            dead("theirs"),
            "exchange 'theirs' is not one of jobs.*, amq.topic",
        ),
        (
            Kind::Queue,
            "jobs",
            dead("public.x"),
            "exchange 'public.x' is not one of jobs.*, amq.topic",
        ),
        (
            Kind::Queue,
            "jobs",
            dead(""),
            "exchange '' is not one of jobs.*, amq.topic",
        ),
        (
            Kind::Queue,
            "jobs",
            dead_key,
            "queue 'theirs' is not one of jobs.*, amq.topic",
        ),
        (
            Kind::Binding,
            "jobs",
            binding("theirs", "jobs.a"),
            "exchange 'theirs' is not one of jobs.*, amq.topic, public.*",
        ),
        (
            Kind::Binding,
            "jobs",
            binding("jobs.x", "theirs"),
            "queue 'theirs' is not one of jobs.*, amq.topic",
        ),
        (
            Kind::Vhost,
            "jobs",
            json!({}),
            "kind Vhost is not one of Queue, Exchange, Binding, Policy",
        ),
        (
            Kind::Policy,
            "jobs",
            dead_policy,
            "exchange 'theirs' is not one of jobs.*, amq.topic",
        ),
        (
            Kind::Policy,
            "jobs",
            policy("/", ".*"),
            "the pattern '.*' may match other queues than jobs.*, amq.topic: begin it with ^ and one of these, and use no \
             | but as in ^(a|b)$",
        ),
    ] {
        let expected = format!(
            "Broker shop/main does not allow this from namespace {namespace}: {what} (its allowedNamespaces.rules[1])"
        );
        assert_eq!(
            refusal(rules(), kind, namespace, spec.clone()),
            Some(expected),
            "{kind} {spec}"
        );
    }
    let other = refusal(rules(), Kind::Queue, "other", json!({}));
    assert_eq!(
        other.as_deref(),
        Some(
            "Broker shop/main does not allow objects from namespace other: none of its allowedNamespaces.rules is for it"
        )
    );
    let both = refusal(rules(), Kind::Vhost, "web", json!({"name": "shop"}));
    assert_eq!(
        both.as_deref(),
        Some(
            "Broker shop/main does not allow this from namespace web: vhost 'shop' is not one of web, web-* (its \
             allowedNamespaces.rules[0]); kind Vhost is not one of Queue, Exchange, Binding, Policy (its \
             allowedNamespaces.rules[1])"
        )
    );
}

#[test]
fn a_user_has_the_names_the_tags_and_the_permissions_that_a_rule_gives() {
    let rules = |more: Value| {
        let mut rule = json!({
            "namespaces": ["web"], "vhosts": ["web"], "kinds": ["User"], "namesOf": {"User": ["web-*"]},
            "userTags": ["management"]
        });
        rule.as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().expect("an object"));
        json!({"from": "All", "rules": [rule]})
    };
    let user = |more: Value| {
        let mut user = json!({"name": "web-app", "passwordHash": {"value": ""}});
        user.as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().expect("an object"));
        user
    };
    let in_vhost = |vhost: &str, read: &str| json!({"permissions": [{"vhost": vhost, "read": read}]});
    for good in [json!({}), in_vhost("web", ".*"), json!({"tags": ["management"]})] {
        assert_eq!(
            refusal(rules(json!({})), Kind::User, "web", user(good.clone())),
            None,
            "{good}"
        );
    }
    let account = json!({"brokerRef": {}, "serviceAccount": {"name": "app", "namespace": "shop"}});
    for (spec, what) in [
        (user(in_vhost("shop", "")), "vhost 'shop' is not one of web"),
        (
            user(json!({"topicPermissions": [{"vhost": "shop", "exchange": "x"}]})),
            "vhost 'shop' is not one of web",
        ),
        (user(json!({"name": "shop-app"})), "user 'shop-app' is not one of web-*"),
        (account, "user 'system:serviceaccount:shop:app' is not one of web-*"),
        (
            user(json!({"tags": ["management", "administrator"]})),
            "tag 'administrator' is not one of management",
        ),
    ] {
        let message = refusal(rules(json!({})), Kind::User, "web", spec).expect("a refusal");
        assert!(message.contains(what), "{message}");
    }
    let named = || rules(json!({"names": ["web.*", "amq.default"], "userTags": []}));
    for good in ["", "^web\\.", "^(web\\.a|amq\\.default)$"] {
        assert_eq!(
            refusal(named(), Kind::User, "web", user(in_vhost("web", good))),
            None,
            "{good}"
        );
    }
    let message = refusal(named(), Kind::User, "web", user(in_vhost("web", ".*"))).expect("a refusal");
    assert!(
        message.contains("the pattern '.*' may match other exchanges than web.*, amq.default"),
        "{message}"
    );
    let message = refusal(named(), Kind::User, "web", user(json!({"tags": ["management"]}))).expect("a refusal");
    assert!(
        message.contains("tag 'management' is given, and there are no userTags"),
        "{message}"
    );
}

#[test]
fn the_oldest_objects_have_the_room_there_is() {
    let queue = |name: &str| to_main(json!({"vhost": "web", "name": name}));
    let mut all = snapshot(&[
        (Kind::Broker, "shop", "main", 0, json!({"allowedNamespaces": rules()})),
        (Kind::Queue, "web", "first", 1, queue("a")),
        (Kind::Queue, "web", "same", 2, queue("a")),
        (Kind::Queue, "web", "second", 3, queue("b")),
        (Kind::Queue, "web", "third", 4, queue("c")),
        (Kind::Exchange, "web", "x", 5, queue("x")),
    ]);
    let wanted = |all: &Snapshot| {
        let result = desired(all, &main_broker());
        ["first", "second", "third", "x"].map(|name| matches!(standing(&result, name), Standing::Wanted(_)))
    };
    assert_eq!(
        wanted(&all),
        [true, true, false, true],
        "what is in conflict takes no room"
    );
    assert_eq!(
        standing(&desired(&all, &main_broker()), "third"),
        Standing::Refused(
            Reason::NotAllowed,
            "Broker shop/main does not allow this from namespace web: objects of kind Queue are limited to 2 (its \
             allowedNamespaces.rules[0].maxObjects), and as many are older"
                .to_owned()
        )
    );
    let first = ObjectKey::new(Kind::Queue, "web", "first");
    all.any_mut(&first).expect("it is there").meta_mut().deleting = Some(9);
    all.remove(&ObjectKey::new(Kind::Queue, "web", "same"));
    assert_eq!(
        wanted(&all),
        [false, true, false, true],
        "as long as it is being deleted"
    );
    all.remove(&first);
    let result = desired(&all, &main_broker());
    assert!(matches!(standing(&result, "third"), Standing::Wanted(_)));
}

#[test]
fn what_a_namespace_may_not_touch_any_more_stays() {
    let mut all = with(rules(), Kind::Queue, "jobs", json!({"name": "theirs"}));
    let key = ObjectKey::new(Kind::Queue, "jobs", "it");
    let theirs = Identity::Queue(Name::new("/", "theirs"));
    let own = Identity::Queue(Name::new("/", "jobs.a"));
    let mut observed = Topology::default();
    for name in ["theirs", "jobs.a"] {
        observed.queues.insert(Name::new("/", name), QueueDefinition::default());
    }
    let owned = Owned::from([(key.clone(), BTreeSet::from([theirs.clone(), own.clone()]))]);
    let verdict = |all: &Snapshot| {
        let desired = desired_among(all, &main_broker(), &BTreeSet::new(), &owned);
        let plan = difference(&desired, &observed, &owned);
        let steps: Vec<Identity> = plan.steps.iter().map(|step| step.operation.identity()).collect();
        (plan.verdicts[&key].clone(), steps)
    };
    let why = "Broker shop/main does not allow this from namespace jobs: queue 'theirs' is not one of jobs.*, amq.topic \
               (its allowedNamespaces.rules[1])";
    let refused = Verdict::Not(
        Reason::NotAllowed,
        format!("{why}; queue 'jobs.a', queue 'theirs' stays on the broker and is not kept as declared"),
    );
    assert_eq!(verdict(&all), (refused, Vec::new()));
    all.any_mut(&key).expect("it is there").meta_mut().deleting = Some(9);
    let released = Verdict::Released(Some(format!("queue 'theirs' stays on the broker: {why}")));
    assert_eq!(verdict(&all), (released, vec![own]), "only what is its own goes");
}

/// A status that somebody has written by hand.
#[test]
fn what_a_status_says_is_held_against_the_rules() {
    let mut all = with(rules(), Kind::Queue, "jobs", json!({"name": "jobs.a"}));
    let key = ObjectKey::new(Kind::Queue, "jobs", "it");
    let meta = all.any_mut(&key).expect("it is there").meta_mut();
    meta.status.name = Some("orders".to_owned());
    meta.status.vhost = Some("web".to_owned());
    meta.deleting = Some(9);
    let result = desired(&all, &main_broker());
    let barred = &result.items.first().expect("the item").barred;
    assert!(barred.contains_key(&Identity::Queue(Name::new("web", "orders"))));
}

#[test]
fn nothing_is_left_behind_while_labels_are_not_known() {
    let allowed = json!({"from": "Selector", "selector": {"matchLabels": {"team": "jobs"}}});
    let mut all = with(allowed, Kind::Queue, "jobs", json!({}));
    let key = ObjectKey::new(Kind::Queue, "jobs", "it");
    let meta = all.any_mut(&key).expect("it is there").meta_mut();
    meta.status.name = Some("it".to_owned());
    meta.status.vhost = Some("/".to_owned());
    meta.deleting = Some(9);
    let barred = |all: &Snapshot| desired(all, &main_broker()).items[0].barred.len();
    assert_eq!(barred(&all), 0);
    all.namespaces.insert("jobs".to_owned(), BTreeMap::new());
    assert_eq!(barred(&all), 1);
}

/// Somebody with a Broker of his own for the same broker, and an older object.
#[test]
fn another_broker_is_no_way_round_the_rules() {
    let own = |vhost: &str| json!({"brokerRef": {"name": "main"}, "vhost": vhost, "name": "jobs.orders"});
    let all = |vhost: &str| {
        snapshot(&[
            (Kind::Broker, "shop", "main", 0, json!({"allowedNamespaces": rules()})),
            (Kind::Broker, "jobs", "main", 0, json!({})),
            (Kind::Queue, "jobs", "thief", 1, own(vhost)),
            (
                Kind::Queue,
                "web",
                "it",
                2,
                to_main(json!({"vhost": vhost, "name": "jobs.orders"})),
            ),
        ])
    };
    let twin = BTreeSet::from([ObjectKey::new(Kind::Broker, "jobs", "main")]);
    let of = |vhost: &str| standing(&desired_among(&all(vhost), &main_broker(), &twin, &Owned::new()), "it");
    assert!(matches!(of("web"), Standing::Wanted(_)), "{:?}", of("web"));
    assert!(
        matches!(of("/"), Standing::Refused(Reason::Conflict, _)),
        "where both may, the older one has it"
    );
}
