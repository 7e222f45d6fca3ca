//! Permissions of users in virtual hosts, each declared by an object of its own.
//!
//! In: the spec of a Permission. Out: the place and the rights. Does not know about the rest, which all rights share.

use super::declaration::Labels;
use super::grant::{self, Grant, Place};
use super::user::UserDefinition;
use crate::resource::{Kind, Permission, PermissionSpec};

/// A permission by its user and virtual host.
pub type Declaration = Grant<InVhost>;

/// Rights in a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InVhost;

impl grant::Class for InVhost {
    const KIND: Kind = Kind::Permission;
    const LABELS: Labels = Labels {
        declare: "put_permission",
        remove: "delete_permission",
    };

    type Spec = PermissionSpec;

    fn wanted(spec: &PermissionSpec) -> Result<(Place, UserDefinition), String> {
        let PermissionSpec {
            broker_ref: _,
            whose,
            permission,
        } = spec;
        let Permission {
            vhost,
            configure,
            write,
            read,
        } = permission;
        let place = Place {
            user: whose.name()?,
            vhost: vhost.clone(),
            exchange: None,
        };
        let rights = [configure, write, read].map(Clone::clone);
        let part = UserDefinition {
            permissions: [(vhost.clone(), rights)].into(),
            ..UserDefinition::default()
        };
        Ok((place, part))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::declaration::{Declare, Request, Verb};
    use super::super::name::Name;
    use super::*;
    use crate::object::LastStatus;

    fn wanted(read: &str) -> Declaration {
        let spec = json!({"brokerRef": {"name": "main"}, "whose": {"user": "till"},
            "permission": {"vhost": "shop", "configure": "", "write": "^a", "read": read}});
        let spec = serde_json::from_value(spec).expect("a spec");
        Declaration::wanted(&spec, "any").expect("it can be")
    }

    fn request(verb: Verb, body: Option<serde_json::Value>) -> Request {
        let path = "/api/permissions/shop/till".to_owned();
        Request { verb, path, body }
    }

    #[test]
    fn one_entry_is_put_right_and_the_others_are_left_alone() {
        let mut all = BTreeMap::new();
        assert_eq!(wanted("^b").differences(&all), None, "there is no such user");
        let other = ["", "", ".*"].map(str::to_owned);
        let user = UserDefinition {
            permissions: [("web".to_owned(), other)].into(),
            ..UserDefinition::default()
        };
        all.insert(Name::new("", "till"), user);
        assert_eq!(wanted("^b").differences(&all), None, "it has no such permission");
        let body = json!({"configure": "", "write": "^a", "read": "^b"});
        assert_eq!(wanted("^b").puts(&all), [request(Verb::Put, Some(body.clone()))]);
        wanted("^b").insert(&mut all);
        assert_eq!(wanted("^b").differences(&all), Some(Vec::new()));
        assert_eq!(wanted("^b").puts(&all), []);
        assert_eq!(
            wanted("^c").differences(&all),
            Some(vec![
                r#"permission in vhost 'shop' is configure "" write "^a" read "^b" on the broker, wanted configure "" write "^a" read "^c""#
                    .to_owned()
            ])
        );
        let place = wanted("^b").identity().clone();
        assert_eq!(Declaration::delete(&place), Some(request(Verb::Delete, None)));
        assert!(Declaration::remove(&mut all, &place) && !Declaration::remove(&mut all, &place));
        let left: Vec<&String> = all.values().flat_map(|user| user.permissions.keys()).collect();
        assert_eq!(left, ["web"]);
    }

    #[test]
    fn a_status_brings_back_which_it_was() {
        let place = wanted("").identity().clone();
        let mut last = LastStatus::default();
        Declaration::remember(&place, &mut last);
        assert_eq!(Declaration::recall(&last), std::slice::from_ref(&place));
        assert_eq!(
            Declaration::describe(&place),
            "the permission of user 'till' in vhost 'shop'"
        );
    }

    #[test]
    fn a_user_that_is_not_known_is_said() {
        let spec = json!({"brokerRef": {"name": "main"}, "whose": {"reference": "till"}, "permission": {}});
        let refusal = Declaration::wanted(&serde_json::from_value(spec).expect("a spec"), "any");
        assert_eq!(
            refusal,
            Err("the User 'till' does not exist, or its name on the broker is not known yet".to_owned())
        );
    }
}
