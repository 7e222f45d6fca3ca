//! (pure) Which Broker a Secret is for. Who may write Brokers may not read Secrets by them: a Secret whose content
//! leaves the operator, or gets into a pod, has to say that the Broker may use it.
//!
//! In: a Secret, a Broker, the hosts that a password would go to. Out: nothing, or why not, with the command that
//! changes it. Does not know about connections or the API server.

use std::collections::BTreeMap;
use std::fmt;

use crate::broker::hosts::Pattern;
use crate::object::{ConnectionError, Meta};

/// Annotation of a Secret: names of the Brokers that may use it, separated by commas.
pub const BROKER: &str = "leveret.dev/broker";
/// Annotation of a Secret: hosts that its password may go to, separated by commas; without it, wherever those Brokers
/// are.
pub const BROKER_HOSTS: &str = "leveret.dev/broker-hosts";

/// A Secret: its keys and values, and what it says of its use.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretData {
    pub values: BTreeMap<String, Vec<u8>>,
    /// Uid of the object that it belongs to.
    pub owner: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

impl fmt::Debug for SecretData {
    /// Leaves the values out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

impl SecretData {
    /// The value of an annotation, unless it is empty.
    fn said(&self, annotation: &str) -> Option<&str> {
        let text = self.annotations.get(annotation)?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// Refuses a Broker that the Secret is not for. The Secrets that are made for a Broker are its own.
    ///
    /// # Errors
    /// [`ConnectionError::NotAllowed`].
    pub fn permit(&self, name: &str, broker: &Meta) -> Result<(), ConnectionError> {
        let (namespace, wanted) = (&broker.key.namespace, &broker.key.name);
        if self.owner.as_ref().is_some_and(|owner| *owner == broker.uid) {
            return Ok(());
        }
        let said = self.said(BROKER);
        let mut names = said.into_iter().flat_map(|text| text.split(',')).map(str::trim);
        if names.any(|name| name == wanted) {
            return Ok(());
        }
        // Only what can be a list of names is repeated.
        let is_list = |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-.,".contains(c));
        let (others, flag, list) = match said.filter(is_list) {
            Some(others) => (
                format!("is for Broker {others}, not for {wanted}"),
                " --overwrite",
                format!("{others},{wanted}"),
            ),
            None => (
                format!("does not say that Broker {wanted} may use it"),
                if said.is_some() { " --overwrite" } else { "" },
                wanted.clone(),
            ),
        };
        Err(ConnectionError::NotAllowed(format!(
            "Secret {namespace}/{name} {others}: kubectl annotate secret {name} -n {namespace}{flag} {BROKER}={list}"
        )))
    }

    /// Refuses hosts that its password must not go to.
    ///
    /// # Errors
    /// [`ConnectionError::NotAllowed`].
    pub fn permit_hosts(&self, name: &str, broker: &Meta, hosts: &[&str]) -> Result<(), ConnectionError> {
        let Some(said) = self.said(BROKER_HOSTS) else {
            return Ok(());
        };
        // What is no pattern names no host.
        let patterns: Vec<Pattern> = said.split(',').filter_map(|text| text.trim().parse().ok()).collect();
        let allowed = |host: &str| patterns.iter().any(|pattern| pattern.names(host));
        match hosts.iter().find(|host| !allowed(host)) {
            None => Ok(()),
            Some(host) => Err(ConnectionError::NotAllowed(format!(
                "Secret {}/{name} does not let its password go to '{host}' (its annotation {BROKER_HOSTS})",
                broker.key.namespace
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, ObjectKey};

    fn broker() -> Meta {
        Meta {
            uid: "u1".to_owned(),
            ..Meta::fresh(ObjectKey::new(Kind::Broker, "shop", "main"))
        }
    }

    fn secret(annotation: &str, value: &str) -> SecretData {
        SecretData {
            annotations: [(annotation.to_owned(), value.to_owned())].into(),
            ..SecretData::default()
        }
    }

    fn refusal(secret: &SecretData) -> String {
        let refused = secret.permit("admin", &broker()).expect_err("not permitted");
        assert!(matches!(refused, ConnectionError::NotAllowed(_)));
        refused.to_string()
    }

    #[test]
    fn a_secret_names_its_brokers() {
        for named in ["main", "legacy, main"] {
            assert_eq!(secret(BROKER, named).permit("admin", &broker()), Ok(()));
        }
        let own = SecretData {
            owner: Some("u1".to_owned()),
            ..SecretData::default()
        };
        assert_eq!(own.permit("main-admin", &broker()), Ok(()));
        let another = SecretData {
            owner: Some("u2".to_owned()),
            ..SecretData::default()
        };
        assert!(
            another.permit("main-admin", &broker()).is_err(),
            "of a Broker that had this name before"
        );
        assert_eq!(
            refusal(&SecretData::default()),
            "Secret shop/admin does not say that Broker main may use it: kubectl annotate secret admin -n shop leveret.dev/broker=main"
        );
        assert_eq!(
            refusal(&secret(BROKER, "legacy")),
            "Secret shop/admin is for Broker legacy, not for main: \
             kubectl annotate secret admin -n shop --overwrite leveret.dev/broker=legacy,main"
        );
        assert!(!refusal(&secret(BROKER, "$(rm -rf /)")).contains("rm"));
    }

    #[test]
    fn a_secret_may_name_the_hosts_that_its_password_goes_to() {
        let bound = secret(BROKER_HOSTS, "rabbit.shop.svc, *.example.com");
        let permit = |secret: &SecretData, hosts: &[&str]| secret.permit_hosts("admin", &broker(), hosts);
        assert_eq!(permit(&bound, &["rabbit.shop.svc", "a.example.com"]), Ok(()));
        assert!(permit(&bound, &["rabbit.shop.svc", "evil.net"]).is_err());
        assert!(
            permit(&secret(BROKER_HOSTS, "//"), &["evil.net"]).is_err(),
            "no pattern at all"
        );
        assert_eq!(permit(&SecretData::default(), &["evil.net"]), Ok(()));
    }
}
