//! (pure) Resources of RabbitMQ's topology operator (`rabbitmq.com`), as that operator reads and writes them.
//!
//! In: an object of its group; a report for it. Out: the spec of the resource that asks for the same; its status in
//! that operator's form. Does not know about a Kubernetes client.
//!
//! That form has no place for what an object owns on the broker. Name and virtual host cannot be changed there, so what
//! the spec says is what an object owns once it has been made, by either operator.

use kube::core::ObjectMeta;
use serde_json::{Value, json};

use super::api::MANAGER;
use super::status::{self, NEXT, Status, Transition};
use crate::object::{AnyObject, ConditionStatus, Kind, ObjectKey, StatusReport};
use crate::rabbitmq::Owner;
use crate::rabbitmq::manifest::{Manifest, translate};
use crate::resource::admission::admit;
use crate::resource::{Condition, GROUP, SecretRef, Spec, VERSION};
use crate::topology::wish;

/// Annotation: the Broker, as NAME or NAMESPACE/NAME, where it is not called as the cluster is.
const BROKER: &str = "leveret.dev/broker";

/// Reasons of the condition Ready, which Argo CD's health checks know.
const DONE: &str = "SuccessfulCreateOrUpdate";
const NOT_DONE: &str = "FailedCreateOrUpdate";

const READY: &str = "Ready";

/// The field of a User's status with its name on the broker.
const USERNAME: &str = "username";

/// Somebody else who has written the status of an object since `start` (Unix seconds).
pub(super) fn rival(metadata: &ObjectMeta, start: i64) -> Option<&str> {
    let writers = metadata.managed_fields.iter().flatten();
    let mut of_status = writers.filter(|entry| entry.subresource.as_deref() == Some("status"));
    let other = of_status.find(|entry| {
        let is_new = entry.time.as_ref().is_some_and(|time| time.0.as_second() > start);
        is_new && entry.manager.as_deref() != Some(MANAGER)
    });
    other.and_then(|entry| entry.manager.as_deref())
}

/// A spec that was read.
pub(super) struct Read {
    pub(super) spec: Spec,
    /// Everything in it that has no counterpart.
    pub(super) remarks: Vec<String>,
}

/// Reads the spec of an object.
///
/// # Errors
/// There can be no such object here, and why.
pub(super) fn spec(key: &ObjectKey, metadata: &ObjectMeta, spec: Value, status: &Value) -> Result<Read, String> {
    let username = status.get(USERNAME).and_then(Value::as_str);
    let username = username.filter(|name| !name.is_empty() && key.kind == Kind::User);
    let manifest = Manifest {
        name: key.name.clone(),
        spec,
        // The Secret that a status names is the one that the spec asks for.
        status: username.map_or(Value::Null, |name| json!({ USERNAME: name })),
    };
    let translation = translate(key.kind.as_str(), manifest).map_err(|remark| remark.why)?;
    let mut spec = translation.spec;
    if key.kind == Kind::User && username.is_none() {
        // It stands in the Secret, or is made with it.
        spec.remove("name");
    }
    if let Some(broker) = metadata.annotations.as_ref().and_then(|all| all.get(BROKER)) {
        spec.insert("brokerRef".to_owned(), broker_ref(broker));
    }
    if matches!(key.kind, Kind::Vhost | Kind::Policy | Kind::OperatorPolicy) {
        // That operator overwrites what is there.
        spec.insert("adoptionPolicy".to_owned(), json!("Always"));
    }
    let manifest = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": translation.kind.as_str(),
        "metadata": { "name": key.name },
        "spec": spec,
    });
    let mut admitted = admit(&manifest).map_err(|refusals| {
        let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        lines.join("; ")
    })?;
    let mut spec = admitted.get_mut("spec").map(Value::take).unwrap_or_default();
    if let Some(owner) = translation.of {
        spec = right(spec, owner);
    }
    let remarks = translation.remarks.into_iter();
    Ok(Read {
        spec: Spec::parse(key.kind, spec).map_err(|error| error.to_string())?,
        remarks: remarks
            .map(|remark| format!("{}: {}", remark.field.join("."), remark.why))
            .collect(),
    })
}

/// The spec of the one right that a User has which is put together from it.
fn right(mut user: Value, owner: Owner) -> Value {
    let lists = ["/permissions/0", "/topicPermissions/0"].into_iter();
    let entry = lists.filter_map(|list| user.pointer(list).cloned()).next();
    let whose = match owner {
        Owner::User(name) => json!({ "user": name }),
        Owner::Resource(name) => json!({ "reference": name }),
    };
    json!({ "brokerRef": user["brokerRef"].take(), "whose": whose, "permission": entry })
}

fn broker_ref(text: &str) -> Value {
    match text.split_once('/') {
        Some((namespace, name)) => json!({ "namespace": namespace, "name": name }),
        None => json!({ "name": text }),
    }
}

/// Puts down what an object owns, which its status does not say.
pub(super) fn remember(object: &mut AnyObject, status: &Status) {
    let is_made = status.observed_generation.is_some_and(|generation| generation > 0);
    let is_told = status.condition(READY).is_some();
    let identity = wish(object).and_then(|wish| wish.declared.ok());
    let meta = object.meta_mut();
    if let Some(declared) = identity.filter(|_| is_made) {
        declared.identity().remember(&mut meta.status);
    }
    meta.status.looked_at = is_told.then_some(meta.generation);
}

/// The status to write for `report`; equal to the one that stands when nothing needs to be written.
/// `observedGeneration` is the last one that was made. `now` is RFC 3339.
pub(super) fn next(report: &StatusReport, before: &Status, remarks: &[String], now: &str) -> Status {
    let (reason, message) = words(report, remarks);
    let status = report.ready.as_str();
    let since = before.condition(READY).filter(|old| old.status == status);
    let ready = Condition {
        type_: READY.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: None,
        last_transition_time: since.map_or(now, |old| old.last_transition_time.as_str()).to_owned(),
    };
    let others = before.conditions.iter().filter(|condition| condition.type_ != READY);
    Status {
        observed_generation: match report.ready {
            ConditionStatus::True => Some(report.generation),
            _ => before.observed_generation,
        },
        conditions: others.cloned().chain([ready]).collect(),
        ..of_user(report, before)
    }
}

/// The fields that only the status of a user has. It is not one without a name, be that an empty one.
fn of_user(report: &StatusReport, before: &Status) -> Status {
    if report.key.kind != Kind::User {
        return Status::default();
    }
    let secret = report.secret.clone().map(|name| SecretRef { name });
    let name = report.name.clone().or_else(|| before.username.clone());
    Status {
        username: Some(name.unwrap_or_default()),
        credentials: secret.or_else(|| before.credentials.clone()),
        ..Status::default()
    }
}

/// The event to tell, as of other resources: when another thing is so than the status says.
pub(super) fn transition(report: &StatusReport, before: &Status) -> Option<Transition> {
    let (reason, message) = words(report, &[]);
    let text = |message: &str| message.split(NEXT).next().unwrap_or_default().to_owned();
    let is_same = before.condition(READY).is_some_and(|old| {
        let same = old.status == report.ready.as_str() && old.reason == reason;
        same && (reason == DONE || text(&old.message) == text(&message))
    });
    match is_same {
        true => None,
        false => status::transition(report, before),
    }
}

/// Reason and message of the condition.
fn words(report: &StatusReport, remarks: &[String]) -> (&'static str, String) {
    match report.ready {
        ConditionStatus::True if remarks.is_empty() => (DONE, String::new()),
        ConditionStatus::True => (DONE, format!("left out: {}", remarks.join("; "))),
        _ => (NOT_DONE, format!("{}: {}", report.reason, status::said(report))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Group, GroupKind, Meta, Reason};

    fn key(kind: Kind) -> ObjectKey {
        let group = Group::RabbitMq;
        ObjectKey::of(GroupKind { group, kind }, "shop", "orders")
    }

    fn report(ready: ConditionStatus, reason: Reason) -> StatusReport {
        StatusReport {
            generation: 3,
            message: "text".to_owned(),
            name: Some("orders".to_owned()),
            vhost: Some("/".to_owned()),
            did_something: true,
            ..StatusReport::sample(key(Kind::Queue), ready, reason)
        }
    }

    #[test]
    fn a_status_is_as_that_operator_writes_it() {
        let failed = next(
            &report(ConditionStatus::False, Reason::Mismatch),
            &Status::default(),
            &[],
            "t1",
        );
        let written = json!({"conditions": [{"type": "Ready", "status": "False", "reason": "FailedCreateOrUpdate",
            "message": "Mismatch: text", "lastTransitionTime": "t1"}]});
        assert_eq!(serde_json::to_value(&failed).expect("JSON"), written);
        let done = report(ConditionStatus::True, Reason::Synced);
        let ready = next(&done, &failed, &[], "t2");
        let written = json!({"observedGeneration": 3, "conditions": [{"type": "Ready", "status": "True",
            "reason": "SuccessfulCreateOrUpdate", "message": "", "lastTransitionTime": "t2"}]});
        assert_eq!(serde_json::to_value(&ready).expect("JSON"), written);
        assert_eq!(next(&done, &ready, &[], "t3"), ready, "nothing to write");
        let again = next(&report(ConditionStatus::False, Reason::BrokerError), &ready, &[], "t4");
        assert_eq!(again.observed_generation, Some(3), "the last that was made");
        let partly = next(&done, &ready, &["limits: a Vhost has none".to_owned()], "t5");
        let message = partly.condition(READY).map(|condition| condition.message.as_str());
        assert_eq!(message, Some("left out: limits: a Vhost has none"));
    }

    #[test]
    fn the_status_of_a_user_has_its_name_and_its_secret() {
        let of_user = |name: Option<&str>, secret: Option<&str>| StatusReport {
            name: name.map(str::to_owned),
            secret: secret.map(str::to_owned),
            ..StatusReport::sample(key(Kind::User), ConditionStatus::Unknown, Reason::WaitingForSecret)
        };
        let waits = next(&of_user(None, None), &Status::default(), &[], "t1");
        let written = serde_json::to_value(&waits).expect("JSON");
        assert_eq!(
            (&written["username"], written.get("credentials")),
            (&json!(""), None),
            "{written}"
        );
        let known = next(&of_user(Some("x1"), Some("s")), &waits, &[], "t2");
        let written = serde_json::to_value(&known).expect("JSON");
        assert_eq!(
            (&written["username"], &written["credentials"]),
            (&json!("x1"), &json!({"name": "s"}))
        );
        let later = next(&of_user(None, None), &known, &[], "t3");
        assert_eq!(
            (later.username, later.credentials),
            (known.username, known.credentials),
            "what is known stays"
        );
    }

    #[test]
    fn rights_are_those_of_a_user_or_of_its_object() {
        let reference = json!({"name": "main"});
        let of = |kind: Kind, spec_of: Value| {
            let mut spec_of = spec_of;
            spec_of["rabbitmqClusterReference"] = reference.clone();
            spec(&key(kind), &ObjectMeta::default(), spec_of, &Value::Null).map(|read| read.spec)
        };
        let Ok(Spec::Permission(permission)) = of(
            Kind::Permission,
            json!({"user": "till", "vhost": "shop", "permissions": {"read": ".*"}}),
        ) else {
            panic!("no permission");
        };
        assert_eq!(permission.whose.user.as_deref(), Some("till"));
        assert_eq!(
            (
                permission.permission.vhost.as_str(),
                permission.permission.read.as_str()
            ),
            ("shop", ".*")
        );
        let topic = json!({"userReference": {"name": "till"}, "vhost": "shop",
            "permissions": {"exchange": "x", "write": "^a"}});
        let Ok(Spec::TopicPermission(permission)) = of(Kind::TopicPermission, topic) else {
            panic!("no topic permission");
        };
        assert_eq!(
            (permission.whose.user, permission.whose.reference),
            (None, Some("till".to_owned()))
        );
        assert_eq!(permission.permission.exchange, "x");
        for refused in [
            json!({"vhost": "shop"}),
            json!({"user": "till", "vhost": "shop", "permissions": {"exchange": "x"}}),
            json!({"user": "till", "userReference": {"name": "till"}, "vhost": "shop"}),
            json!({"user": "till", "vhost": "shop", "permissions": {"read": "x".repeat(5000)}}),
        ] {
            assert!(of(Kind::Permission, refused.clone()).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_user_is_called_as_its_status_says() {
        let of = |spec_of: Value, status: Value| {
            let mut spec_of = spec_of;
            spec_of["rabbitmqClusterReference"] = json!({"name": "main"});
            match spec(&key(Kind::User), &ObjectMeta::default(), spec_of, &status)
                .expect("a user")
                .spec
            {
                Spec::User(user) => (
                    user.name.clone(),
                    json!([user.password_secret_ref, user.generated_secret]),
                ),
                other => panic!("{other:?}"),
            }
        };
        let generated = json!([null, {"name": "orders-user-credentials"}]);
        let made = json!({"username": "x1", "credentials": {"name": "orders-user-credentials"}});
        assert_eq!(of(json!({}), json!({"username": ""})), (None, generated.clone()));
        assert_eq!(of(json!({}), made.clone()), (Some("x1".to_owned()), generated));
        let brought = json!({"importCredentialsSecret": {"name": "s"}});
        let secret = json!([{"name": "s", "key": "password"}, null]);
        assert_eq!(of(brought.clone(), Value::Null), (None, secret.clone()));
        assert_eq!(of(brought, made), (Some("x1".to_owned()), secret));
    }

    #[test]
    fn an_event_is_told_once() {
        let done = report(ConditionStatus::True, Reason::Synced);
        let failed = report(ConditionStatus::False, Reason::Mismatch);
        assert!(transition(&done, &Status::default()).is_some());
        let ready = next(&done, &Status::default(), &[], "t1");
        assert_eq!(transition(&done, &ready), None);
        assert!(transition(&failed, &ready).is_some_and(|told| told.warning));
        let after = next(&failed, &ready, &[], "t2");
        assert_eq!(transition(&failed, &after), None);
    }

    fn object(status: Value) -> AnyObject {
        let spec_of = json!({"name": "Orders", "vhost": "shop", "rabbitmqClusterReference": {"name": "main"}});
        let read = spec(&key(Kind::Queue), &ObjectMeta::default(), spec_of, &Value::Null).expect("a queue");
        let mut object = AnyObject::new(Meta::fresh(key(Kind::Queue)), read.spec);
        remember(&mut object, &serde_json::from_value(status).expect("a status"));
        object
    }

    #[test]
    fn what_either_operator_has_made_is_owned() {
        let made = object(json!({"observedGeneration": 1, "conditions": []}));
        let last = &made.meta().status;
        assert_eq!(
            (last.name.as_deref(), last.vhost.as_deref()),
            (Some("Orders"), Some("shop"))
        );
        assert_eq!(object(json!({})).meta().status.name, None);
    }

    #[test]
    fn the_broker_can_be_named_by_an_annotation() {
        for (annotation, namespace, name) in [("rabbit", None, "rabbit"), ("infra/rabbit", Some("infra"), "rabbit")] {
            let metadata = ObjectMeta {
                annotations: Some([(BROKER.to_owned(), annotation.to_owned())].into()),
                ..ObjectMeta::default()
            };
            let of = json!({"name": "q", "rabbitmqClusterReference": {"name": "main"}});
            let read = spec(&key(Kind::Queue), &metadata, of, &Value::Null).expect("a queue");
            let broker = read.spec.broker_ref().expect("a Broker");
            assert_eq!((broker.namespace.as_deref(), broker.name.as_str()), (namespace, name));
        }
    }

    #[test]
    fn who_else_writes_a_status_is_noticed() {
        let written = |manager: &str, subresource: &str, second: &str| -> ObjectMeta {
            let entry = json!({"manager": manager, "operation": "Update", "subresource": subresource,
                "time": format!("1970-01-01T00:00:{second}Z")});
            serde_json::from_value(json!({ "managedFields": [entry] })).expect("metadata")
        };
        assert_eq!(rival(&written("manager", "status", "09"), 5), Some("manager"));
        for other in [
            written("manager", "status", "03"),
            written("kubectl", "", "09"),
            written(MANAGER, "status", "09"),
        ] {
            assert_eq!(rival(&other, 5), None, "{other:?}");
        }
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_with_words() {
        for (kind, of) in [
            (
                Kind::Queue,
                json!({"name": "amq.a", "rabbitmqClusterReference": {"name": "main"}}),
            ),
            (Kind::Queue, json!({"name": "q"})),
            (
                Kind::Vhost,
                json!({"name": "/", "rabbitmqClusterReference": {"name": "main"}}),
            ),
        ] {
            assert!(
                spec(&key(kind), &ObjectMeta::default(), of.clone(), &Value::Null).is_err(),
                "{of}"
            );
        }
    }
}
