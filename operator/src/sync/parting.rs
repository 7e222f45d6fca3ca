//! (pure) A Broker that is being deleted goes last: what it waits for, and for how long.
//!
//! In: the Broker, how far its pod is, how many messages it holds, and how many resources still refer to it.
//! Out: whether it may go, or what it waits for, and whether what refers to it need not wait for it any more.
//! Does not know about connections, finalizers, or the resources themselves.

use crate::object::{EngineState, FORCE_DELETE, Object, ObjectKey, PAUSED, is_confirmed, is_set};
use crate::resource::workload::StorageDeletionPolicy;
use crate::resource::{BrokerDeletionPolicy, BrokerSpec, Engine};

/// A Broker that is being deleted, as it stands now.
#[derive(Clone, Debug)]
pub(super) struct Parting {
    broker: ObjectKey,
    own: bool,
    /// Messages go with it, and it is to ask before.
    asks: bool,
    forced: bool,
    /// It is run by the operator, and its pod is gone or never ran: there is nothing that it could still do.
    gone: bool,
    patience: i64,
    deadline: i64,
    /// Messages that it holds; `None` while nobody knows.
    messages: Option<u64>,
}

/// The answer to whether a Broker may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Go,
    /// It waits, for what, and until when (Unix seconds) at the latest.
    Wait(String, Option<i64>),
}

/// True if messages would go with a Broker that is to ask before: that is worth a finalizer.
pub(super) fn asks_first(broker: &Object<BrokerSpec>) -> bool {
    let spec = &broker.spec;
    let goes_along = match &spec.storage {
        None => true,
        Some(storage) => storage.deletion_policy == StorageDeletionPolicy::Delete,
    };
    spec.engine == Engine::Leveret
        && goes_along
        && spec.deletion_policy != Some(BrokerDeletionPolicy::Delete)
        && !is_set(&broker.meta.annotations, PAUSED)
}

impl Parting {
    /// `None` for a Broker that is not being deleted. `connected`: it answers, whatever is known of its pod; `patience`
    /// in seconds.
    pub(super) fn new(
        broker: &Object<BrokerSpec>,
        engine: Option<&EngineState>,
        connected: bool,
        messages: Option<u64>,
        patience: i64,
    ) -> Option<Self> {
        let own = broker.spec.engine == Engine::Leveret;
        let since = broker.meta.deleting?;
        Some(Self {
            broker: broker.meta.key.clone(),
            own,
            asks: asks_first(broker),
            forced: is_confirmed(&broker.meta.annotations, FORCE_DELETE),
            gone: own && !connected && engine.is_some_and(|engine| !engine.has_run),
            patience,
            deadline: since.saturating_add(patience),
            messages,
        })
    }

    /// The number of messages matters and must be counted anew.
    pub(super) fn must_count(&self) -> bool {
        self.asks && !self.forced && !self.gone
    }

    /// Resources that are being deleted wait for this Broker no longer, and why.
    pub(super) fn is_over(&self, now: i64) -> Option<String> {
        let broker = &self.broker;
        if self.forced {
            return Some(format!("{broker} is being deleted, and an annotation says not to wait"));
        }
        if self.gone {
            return Some(format!("{broker} is being deleted, and its pod is gone"));
        }
        let holds = self.must_count() && self.messages.is_some_and(|count| count > 0);
        (now >= self.deadline && !holds).then(|| format!("{broker} is being deleted, for {} s", self.patience))
    }

    /// `referring` resources are still there, of which `leaving` are being deleted.
    pub(super) fn decide(&self, referring: usize, leaving: usize, now: i64) -> Decision {
        let late = now >= self.deadline;
        if self.must_count() {
            match self.messages {
                Some(count @ 1..) => return Decision::Wait(self.holds(count), None),
                None if !late => {
                    let text = format!(
                        "deletion waits for {} s at most: it is not known whether the broker holds messages, which go with it{}",
                        self.patience,
                        ends_it("at once")
                    );
                    return Decision::Wait(text, Some(self.deadline));
                }
                Some(0) | None => {}
            }
        }
        if referring == 0 || self.is_over(now).is_some() {
            return Decision::Go;
        }
        let them = match referring {
            1 => "1 resource refers to it".to_owned(),
            count => format!("{count} resources refer to it"),
        };
        let stays = if self.own {
            ""
        } else {
            "; what they stand for stays on the broker then"
        };
        let text = format!(
            "deletion waits for {} s at most, since {them} ({leaving} being deleted){stays}{}",
            self.patience,
            ends_it("the wait")
        );
        Decision::Wait(text, Some(self.deadline))
    }

    fn holds(&self, count: u64) -> String {
        let (messages, go) = match count {
            1 => ("1 message".to_owned(), "goes"),
            count => (format!("{count} messages"), "go"),
        };
        format!(
            "holds {messages}, which {go} with it: drain its queues, or confirm the loss by the annotation {FORCE_DELETE}: \"true\" or by spec.deletionPolicy: Delete"
        )
    }
}

fn ends_it(what: &str) -> String {
    format!("; the annotation {FORCE_DELETE}: \"true\" ends {what}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::object::{AnyObject, Kind, LastStatus, Meta, Snapshot};
    use crate::resource::Spec;

    fn broker(spec: Value, annotation: Option<&str>) -> Object<BrokerSpec> {
        let key = ObjectKey::new(Kind::Broker, "shop", "main");
        let meta = Meta {
            key: key.clone(),
            uid: "u".to_owned(),
            generation: 1,
            created: 0,
            deleting: Some(1000),
            annotations: annotation
                .map(|name| (name.to_owned(), "true".to_owned()))
                .into_iter()
                .collect(),
            touched: 0,
            finalized: true,
            status: LastStatus::default(),
        };
        let mut snapshot = Snapshot::default();
        snapshot.insert(AnyObject::new(meta, Spec::parse(Kind::Broker, spec).expect("a spec")));
        Object::clone(snapshot.get::<BrokerSpec>(&key).expect("the Broker"))
    }

    fn external() -> Value {
        json!({"engine": "External", "external": {
            "uri": "amqp://one", "managementUri": "http://one", "credentialsSecretRef": {"name": "admin"}
        }})
    }

    fn running() -> EngineState {
        EngineState {
            has_run: true,
            ..EngineState::default()
        }
    }

    #[test]
    fn it_goes_when_nothing_refers_to_it_or_after_a_while() {
        let parting = Parting::new(&broker(external(), None), None, true, None, 60).expect("it is being deleted");
        assert_eq!(parting.decide(0, 0, 1001), Decision::Go);
        let Decision::Wait(text, Some(1060)) = parting.decide(3, 2, 1001) else {
            panic!("it waits until its deadline");
        };
        assert!(text.contains("3 resources refer to it (2 being deleted)"), "{text}");
        assert_eq!(parting.is_over(1059), None);
        assert_eq!(parting.decide(3, 2, 1060), Decision::Go);
        assert!(parting.is_over(1060).is_some());
        let forced =
            Parting::new(&broker(external(), Some(FORCE_DELETE)), None, true, None, 60).expect("being deleted");
        assert_eq!(forced.decide(3, 2, 1001), Decision::Go);
    }

    #[test]
    fn messages_that_would_go_with_it_are_asked_for() {
        let retained = json!({"storage": {"size": "1Gi"}});
        let deleted = json!({"storage": {"size": "1Gi", "deletionPolicy": "Delete"}});
        let (bare, agreed) = (json!({}), json!({"deletionPolicy": "Delete"}));
        for (spec, annotation, asks) in [
            (&retained, None, false),
            (&deleted, None, true),
            (&bare, None, true),
            (&bare, Some(FORCE_DELETE), false),
            (&bare, Some(PAUSED), false),
            (&agreed, None, false),
            (&external(), None, false),
        ] {
            let broker = broker(spec.clone(), annotation);
            let with = |messages| Parting::new(&broker, Some(&running()), true, messages, 60).expect("being deleted");
            let long_after = 5000;
            match with(Some(7)).decide(0, 0, long_after) {
                Decision::Wait(text, None) => assert!(asks && text.contains("holds 7 messages"), "{spec}: {text}"),
                other => assert!(!asks, "{spec}: {other:?}"),
            }
            assert_eq!(with(Some(7)).is_over(long_after).is_none(), asks, "{spec}");
            assert_eq!(with(Some(0)).decide(0, 0, 1001), Decision::Go, "{spec}");
            let unknown = with(None).decide(0, 0, 1001);
            assert_eq!(
                matches!(unknown, Decision::Wait(_, Some(1060))),
                asks,
                "{spec}: {unknown:?}"
            );
            assert_eq!(
                with(None).decide(0, 0, long_after),
                Decision::Go,
                "never for ever: {spec}"
            );
        }
    }

    #[test]
    fn nobody_waits_for_a_pod_that_is_gone() {
        let broker = broker(json!({}), None);
        let gone = Parting::new(&broker, Some(&EngineState::default()), false, None, 60).expect("being deleted");
        assert_eq!(gone.decide(2, 2, 1001), Decision::Go);
        assert!(gone.is_over(1001).is_some());
        let answers = Parting::new(&broker, Some(&EngineState::default()), true, Some(3), 60).expect("being deleted");
        assert!(
            matches!(answers.decide(0, 0, 1001), Decision::Wait(..)),
            "news of its pod are late"
        );
        let unseen = Parting::new(&broker, None, false, None, 60).expect("being deleted");
        assert_eq!(unseen.is_over(1001), None, "nothing is known of its pod yet");
    }

    #[test]
    fn one_that_stays_does_not_part() {
        let mut broker = broker(json!({}), None);
        broker.meta.deleting = None;
        assert!(Parting::new(&broker, None, false, None, 60).is_none());
    }
}
