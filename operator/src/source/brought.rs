//! (pure) The password, or the key of CURVE, in a Secret that a user brings.
//!
//! In: a `User` or a `ZeroMqSocket`, and the Secret that it names. Out: the hash of the password, the key, or what is
//! wrong with the Secret, in words in which nothing of it stands. Does not know about a Kubernetes client.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::grant::SecretData;
use crate::engine::curve_secret::{self, SECRET_KEY};
use crate::object::{Group, Hash, Object, Password, Reason, ServerKey};
use crate::resource::{HashingAlgorithm, PasswordSecretRef, SecretRef, UserSpec, ZeroMqSocketSpec};

/// Keys of a Secret, as RabbitMQ's topology operator reads them, too.
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const PASSWORD_HASH: &str = "passwordHash";

/// Octets of a hash by SHA-512, with its salt.
const SHA512: usize = 4 + 64;

/// The user by the name that it has: one of RabbitMQ's topology operator has that in its Secret.
///
/// # Errors
/// The reason why that is not known.
pub fn called<'a>(
    user: &'a Object<UserSpec>,
    reference: &PasswordSecretRef,
    data: &SecretData,
) -> Result<Cow<'a, Object<UserSpec>>, (Reason, String)> {
    if user.meta.key.group == Group::Leveret || user.spec.name.is_some() {
        return Ok(Cow::Borrowed(user));
    }
    let secret = format!("Secret {}/{}", user.meta.key.namespace, reference.name);
    match data.values.get(USERNAME).map(|name| String::from_utf8(name.clone())) {
        Some(Ok(name)) if !name.is_empty() => Ok(Cow::Owned(named(user, name))),
        Some(Err(_)) => Err((Reason::InvalidArgument, format!("{secret}: {USERNAME} is no text"))),
        _ => Err((Reason::WaitingForSecret, format!("{secret} has no key '{USERNAME}'"))),
    }
}

/// A user with another name.
pub fn named(user: &Object<UserSpec>, name: String) -> Object<UserSpec> {
    let mut user = user.clone();
    user.spec.name = Some(name);
    user
}

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
    let is_theirs = key.group == Group::RabbitMq;
    // That operator looks at the hash first.
    let password = value(&reference.key).filter(|_| !is_theirs || value(PASSWORD_HASH).is_none());
    let hash = match (password, value(PASSWORD_HASH)) {
        (Some([]), _) => return invalid(format!("{secret}: the password is empty")),
        (Some(password), _) => Hash::salted(password, &place(user).each_ref().map(String::as_str)),
        (None, Some(hash)) if reference.key == PASSWORD => match std::str::from_utf8(hash) {
            Ok(hash) => Hash::new(algorithm(hash.trim()).as_str(), hash.trim()),
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
        secret: is_theirs.then(|| reference.name.clone()),
        user: is_theirs.then_some(name),
    }
}

/// The algorithm of a hash that doesn't say it, as only its length does: RabbitMQ's usual one, or its topology
/// operator's.
pub fn algorithm(hash: &str) -> HashingAlgorithm {
    match STANDARD.decode(hash).map(|octets| octets.len()) {
        Ok(SHA512) => HashingAlgorithm::Sha512,
        _ => HashingAlgorithm::default(),
    }
}

/// The password in clear text, where that is what counts in the Secret: for its slow hash.
pub fn clear<'a>(user: &Object<UserSpec>, reference: &PasswordSecretRef, data: &'a SecretData) -> Option<&'a [u8]> {
    let has_hash = data.values.contains_key(PASSWORD_HASH);
    let clear = data.values.get(&reference.key).map(Vec::as_slice);
    clear.filter(|_| user.meta.key.group == Group::Leveret || !has_hash)
}

/// The key of `socket`.
pub fn server_key(socket: &Object<ZeroMqSocketSpec>, reference: &SecretRef, data: &SecretData) -> ServerKey {
    let secret = format!("Secret {}/{}", socket.meta.key.namespace, reference.name);
    let Some(octets) = data.values.get(SECRET_KEY) else {
        return ServerKey::Missing(Reason::WaitingForSecret, format!("{secret} has no key '{SECRET_KEY}'"));
    };
    match curve_secret::read(octets) {
        Some(key) => ServerKey::Known(key),
        None => {
            let text = format!("{secret}: {SECRET_KEY} is no key of CURVE, which has 40 characters of Z85");
            ServerKey::Missing(Reason::InvalidArgument, text)
        }
    }
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
                user: None,
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
                user: None,
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
    fn a_user_of_the_other_operator_is_called_as_its_secret_says() {
        let mut key = ObjectKey::new(Kind::User, "shop", "till");
        key.group = Group::RabbitMq;
        let user = Object {
            meta: Meta::fresh(key),
            spec: serde_json::from_value(json!({"brokerRef": {"name": "main"}})).expect("a spec"),
        };
        let reference = serde_json::from_value(json!({"name": "s"})).expect("a reference");
        let data = |values: &[(&str, &str)]| SecretData {
            values: values
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            ..SecretData::default()
        };
        let missing = (
            Reason::WaitingForSecret,
            "Secret shop/s has no key 'username'".to_owned(),
        );
        assert_eq!(called(&user, &reference, &data(&[("password", "x")])), Err(missing));
        let sha512 = STANDARD.encode([7; SHA512]);
        let both = data(&[("username", "Till"), ("password", "x"), ("passwordHash", &sha512)]);
        let called = called(&user, &reference, &both).expect("a name").into_owned();
        let expected = Password::Known {
            hash: Hash::new("rabbit_password_hashing_sha512", &sha512),
            slow: None,
            secret: Some("s".to_owned()),
            user: Some("Till".to_owned()),
        };
        assert_eq!(password(&called, &reference, &both), expected, "the hash counts");
        assert_eq!(clear(&called, &reference, &both), None);
        let without = data(&[("username", "Till"), ("passwordHash", "")]);
        let Password::Known { hash, .. } = password(&called, &reference, &without) else {
            panic!("not known");
        };
        assert!(hash.is_none(), "no password is right");
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

    #[test]
    fn a_key_or_what_is_wrong_with_it() {
        let spec = json!({"brokerRef": {"name": "main"}, "type": "pull", "port": 1, "queue": "q"});
        let socket = Object {
            meta: Meta::fresh(ObjectKey::new(Kind::ZeroMqSocket, "shop", "in")),
            spec: serde_json::from_value(spec).expect("a spec"),
        };
        let reference = SecretRef { name: "s".to_owned() };
        let found = |values: &[(&str, &str)]| {
            let values = values
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
            let data = SecretData {
                values: values.collect(),
                ..SecretData::default()
            };
            server_key(&socket, &reference, &data)
        };
        let secret = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";
        assert!(matches!(found(&[("secret-key", secret)]), ServerKey::Known(key) if key.secret() == secret));
        let missing = ServerKey::Missing(
            Reason::WaitingForSecret,
            "Secret shop/s has no key 'secret-key'".to_owned(),
        );
        assert_eq!(found(&[]), missing);
        let ServerKey::Missing(Reason::InvalidArgument, text) = found(&[("secret-key", "geheim")]) else {
            panic!("it is none");
        };
        assert!(!text.contains("geheim"), "{text}");
    }
}
