//! (pure) The password in a Secret that a user brings.
//!
//! In: a `User` and the Secret that it names. Out: the hash of the password, or what is wrong with the Secret, in words
//! in which nothing of it stands. Does not know about a Kubernetes client.

use super::grant::SecretData;
use crate::object::{Hash, Object, Password, Reason};
use crate::resource::{HashingAlgorithm, PasswordSecretRef, UserSpec};

/// Keys of a Secret, as RabbitMQ's topology operator reads them, too.
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const PASSWORD_HASH: &str = "passwordHash";

/// The password of `user`.
pub fn password(user: &Object<UserSpec>, reference: &PasswordSecretRef, data: &SecretData) -> Password {
    let key = &user.meta.key;
    let name = user.spec.broker_name(&key.name);
    let secret = format!("Secret {}/{}", key.namespace, reference.name);
    let invalid = |text: String| Password::Missing(Reason::InvalidArgument, text);
    let value = |key: &str| data.values.get(key).map(Vec::as_slice);
    if value(USERNAME).is_some_and(|other| other != name.as_bytes()) && reference.key == PASSWORD {
        return invalid(format!("{secret} is another user's: its {USERNAME} is not '{name}'"));
    }
    let hash = match (value(&reference.key), value(PASSWORD_HASH)) {
        (Some([]), _) => return invalid(format!("{secret}: the password is empty")),
        (Some(password), _) => Hash::salted(password, &place(user).each_ref().map(String::as_str)),
        (None, Some(hash)) if reference.key == PASSWORD => match std::str::from_utf8(hash) {
            Ok(hash) => Hash::new(HashingAlgorithm::default().as_str(), hash.trim()),
            Err(_) => return invalid(format!("{secret}: {PASSWORD_HASH} is no text")),
        },
        (None, _) => {
            let text = format!("{secret} has no key '{}'", reference.key);
            return Password::Missing(Reason::WaitingForSecret, text);
        }
    };
    Password::Known {
        hash,
        slow: None,
        secret: None,
    }
}

/// The password in clear text, where the Secret has it so: for its slow hash.
pub fn clear<'a>(reference: &PasswordSecretRef, data: &'a SecretData) -> Option<&'a [u8]> {
    data.values.get(&reference.key).map(Vec::as_slice)
}

/// Whose password it is, for its salt.
pub fn place(user: &Object<UserSpec>) -> [String; 3] {
    let key = &user.meta.key;
    let name = user.spec.broker_name(&key.name);
    [key.namespace.clone(), key.name.clone(), name]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::{Kind, Meta, ObjectKey};

    fn found(reference: serde_json::Value, values: &[(&str, &str)]) -> Password {
        let user = Object {
            meta: Meta::fresh(ObjectKey::new(Kind::User, "shop", "till")),
            spec: serde_json::from_value(json!({"brokerRef": {"name": "main"}})).expect("a spec"),
        };
        let values = values.iter();
        let values = values.map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        let data = SecretData {
            values: values.collect(),
            ..SecretData::default()
        };
        password(&user, &serde_json::from_value(reference).expect("a reference"), &data)
    }

    fn said(reference: serde_json::Value, values: &[(&str, &str)]) -> (Reason, String) {
        match found(reference, values) {
            Password::Missing(reason, text) => (reason, text),
            Password::Known { .. } => panic!("known"),
        }
    }

    #[test]
    fn a_password_or_its_hash() {
        let usual = json!({"name": "till"});
        let known = found(
            usual.clone(),
            &[("username", "till"), ("password", "geheim"), ("passwordHash", "x")],
        );
        let hash = Hash::salted(b"geheim", &["shop", "till", "till"]);
        assert_eq!(
            known,
            Password::Known {
                hash,
                slow: None,
                secret: None,
            }
        );
        let given = found(usual, &[("passwordHash", "aGFzaA==\n")]);
        let hash = Hash::new("rabbit_password_hashing_sha256", "aGFzaA==");
        assert_eq!(
            given,
            Password::Known {
                hash,
                slow: None,
                secret: None,
            }
        );
        // One Secret for many.
        let many = found(
            json!({"name": "all", "key": "till"}),
            &[("username", "other"), ("till", "geheim")],
        );
        assert!(matches!(many, Password::Known { .. }), "{many:?}");
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_repeated() {
        let usual = || json!({"name": "till"});
        let missing = |text: &str| (Reason::WaitingForSecret, text.to_owned());
        let invalid = |text: &str| (Reason::InvalidArgument, text.to_owned());
        assert_eq!(said(usual(), &[]), missing("Secret shop/till has no key 'password'"));
        let other = said(usual(), &[("username", "geheim"), ("password", "x")]);
        assert_eq!(
            other,
            invalid("Secret shop/till is another user's: its username is not 'till'")
        );
        let empty = said(usual(), &[("password", "")]);
        assert_eq!(empty, invalid("Secret shop/till: the password is empty"));
        let key = said(json!({"name": "all", "key": "a"}), &[("passwordHash", "x")]);
        assert_eq!(key, missing("Secret shop/all has no key 'a'"));
    }
}
