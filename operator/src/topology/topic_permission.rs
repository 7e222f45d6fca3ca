//! Topic permissions of users for exchanges, each declared by an object of its own.
//!
//! In: the spec of a TopicPermission. Out: the place and the rights. Does not know about the rest, which all rights
//! share.

use super::declaration::Labels;
use super::grant::{self, Grant, Place};
use super::user::UserDefinition;
use crate::resource::{Kind, TopicPermission, TopicPermissionSpec};

/// A topic permission by its user, virtual host and exchange.
pub type Declaration = Grant<ForExchange>;

/// Rights to routing keys of an exchange. It need not be there: brokers keep them for when it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForExchange;

impl grant::Class for ForExchange {
    const KIND: Kind = Kind::TopicPermission;
    const LABELS: Labels = Labels {
        declare: "put_topic_permission",
        remove: "delete_topic_permission",
    };

    type Spec = TopicPermissionSpec;

    fn wanted(spec: &TopicPermissionSpec) -> Result<(Place, UserDefinition), String> {
        let TopicPermissionSpec {
            broker_ref: _,
            whose,
            permission,
        } = spec;
        let TopicPermission {
            vhost,
            exchange,
            write,
            read,
        } = permission;
        let place = Place {
            user: whose.name()?,
            vhost: vhost.clone(),
            exchange: Some(exchange.clone()),
        };
        let rights = [write, read].map(Clone::clone);
        let part = UserDefinition {
            topics: [((vhost.clone(), exchange.clone()), rights)].into(),
            ..UserDefinition::default()
        };
        Ok((place, part))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::declaration::{Declare, Verb};
    use super::super::name::Name;
    use super::*;
    use crate::object::LastStatus;

    #[test]
    fn one_exchange_of_several() {
        let spec = json!({"brokerRef": {"name": "main"}, "whose": {"user": "till"},
            "permission": {"vhost": "shop", "exchange": "x", "write": "^a", "read": ""}});
        let wanted = Declaration::wanted(&serde_json::from_value(spec).expect("a spec"), "any").expect("it can be");
        let mut all = BTreeMap::from([(Name::new("", "till"), UserDefinition::default())]);
        let other = ("shop".to_owned(), "y".to_owned());
        let user = all.values_mut().next().expect("a user");
        user.topics.insert(other.clone(), ["", ".*"].map(str::to_owned));
        let puts = wanted.puts(&all);
        assert_eq!(puts.len(), 1);
        assert_eq!(
            (puts[0].path.as_str(), &puts[0].body),
            (
                "/api/topic-permissions/shop/till",
                &Some(json!({"exchange": "x", "write": "^a", "read": ""}))
            )
        );
        wanted.clone().insert(&mut all);
        let place = wanted.identity().clone();
        assert!(Declaration::contains(&all, &place));
        let delete = Declaration::delete(&place).expect("a request");
        assert_eq!(
            (delete.verb, delete.path.as_str()),
            (Verb::Delete, "/api/topic-permissions/shop/till/x")
        );
        let mut last = LastStatus::default();
        Declaration::remember(&place, &mut last);
        assert_eq!(Declaration::recall(&last), std::slice::from_ref(&place));
        assert!(Declaration::remove(&mut all, &place));
        let user = all.values().next().expect("a user");
        assert_eq!(user.topics.keys().collect::<Vec<_>>(), [&other]);
    }
}
