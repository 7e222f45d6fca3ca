//! Users and permissions as the log's table holds them, next to the topology: one key and value each.
//!
//! Keys: a tag, then length-prefixed names. Values: a format version, then the definition. Tags and layouts must be
//! kept stable, and the tags apart from those of `vhost::record`. Comes in: definitions. Goes out: bytes, and
//! definitions again at start.

use super::hash::Hash;
use super::user::{Limits, Tags, User};
use crate::parts::{put, put_long, take, take_long, text};

const USER: u8 = b'u';
const PERMISSION: u8 = b'm';
const TOPIC_PERMISSION: u8 = b't';
/// Key of the note that the first user was made once.
pub const FIRST_USER: &[u8] = b"g";
/// Version of the values.
const FORMAT: u8 = 1;

const MAX_CONNECTIONS: u8 = 1;
const MAX_CHANNELS: u8 = 2;

/// One entry of the table, read back.
#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    /// A user.
    User(User),
    /// The first user was made once.
    FirstUser,
    /// The patterns of a user in a vhost: configure, write, read.
    Permission(String, String, [String; 3]),
    /// The patterns of a user in a vhost for keys of an exchange: write, read.
    TopicPermission(String, String, String, [String; 2]),
}

/// Key of a user.
pub fn user_key(name: &str) -> Vec<u8> {
    let mut out = vec![USER];
    put(&mut out, name.as_bytes());
    out
}

/// Value of a user.
pub fn user_value(user: &User) -> Vec<u8> {
    let mut out = vec![FORMAT];
    put(&mut out, user.hash.algorithm().as_bytes());
    put_long(&mut out, user.hash.text().as_bytes());
    let limits = [user.limits.connections, user.limits.channels];
    let flags = limits.iter().zip([MAX_CONNECTIONS, MAX_CHANNELS]);
    out.push(flags.fold(0, |all, (limit, flag)| if limit.is_some() { all | flag } else { all }));
    limits
        .into_iter()
        .flatten()
        .for_each(|limit| out.extend_from_slice(&limit.to_be_bytes()));
    user.tags.0.iter().for_each(|tag| put(&mut out, tag.as_bytes()));
    out
}

/// Key of a permission.
pub fn permission_key(user: &str, vhost: &str) -> Vec<u8> {
    let mut out = vec![PERMISSION];
    [user, vhost].iter().for_each(|name| put(&mut out, name.as_bytes()));
    out
}

/// Key of a topic permission.
pub fn topic_permission_key(user: &str, vhost: &str, exchange: &str) -> Vec<u8> {
    let mut out = vec![TOPIC_PERMISSION];
    [user, vhost, exchange]
        .iter()
        .for_each(|name| put(&mut out, name.as_bytes()));
    out
}

/// Value of a permission or topic permission.
pub fn patterns_value(patterns: &[String]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    patterns
        .iter()
        .for_each(|pattern| put_long(&mut out, pattern.as_bytes()));
    out
}

/// Value of the note that the first user was made.
pub fn first_user_value() -> Vec<u8> {
    vec![FORMAT]
}

/// Reads an entry back. `None`: not one that this version knows.
pub fn decode(key: &[u8], value: &[u8]) -> Option<Record> {
    let (&format, mut value) = value.split_first()?;
    if format != FORMAT {
        return None;
    }
    if key == FIRST_USER {
        return Some(Record::FirstUser);
    }
    let (&tag, mut key) = key.split_first()?;
    match tag {
        USER => {
            let name = text(take(&mut key)?)?;
            let algorithm = text(take(&mut value)?)?;
            let hash = Hash::import(Some(&algorithm), &text(take_long(&mut value)?)?).ok()?;
            let (&flags, mut rest) = value.split_first()?;
            let mut limit = |flag| {
                if flags & flag == 0 {
                    return Some(None);
                }
                let (number, after) = rest.split_first_chunk()?;
                rest = after;
                Some(Some(i64::from_be_bytes(*number)))
            };
            let limits = Limits {
                connections: limit(MAX_CONNECTIONS)?,
                channels: limit(MAX_CHANNELS)?,
            };
            let mut tags = Tags::default();
            while !rest.is_empty() {
                tags.0.push(text(take(&mut rest)?)?);
            }
            Some(Record::User(User {
                name,
                hash,
                tags,
                limits,
            }))
        }
        PERMISSION => {
            let (user, vhost) = (text(take(&mut key)?)?, text(take(&mut key)?)?);
            let mut pattern = || text(take_long(&mut value)?);
            Some(Record::Permission(user, vhost, [pattern()?, pattern()?, pattern()?]))
        }
        TOPIC_PERMISSION => {
            let (user, vhost) = (text(take(&mut key)?)?, text(take(&mut key)?)?);
            let exchange = text(take(&mut key)?)?;
            let mut pattern = || text(take_long(&mut value)?);
            Some(Record::TopicPermission(user, vhost, exchange, [pattern()?, pattern()?]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hashes() -> impl Strategy<Value = Hash> {
        prop_oneof![
            Just(Hash::None),
            Just(Hash::decoy()),
            proptest::collection::vec(any::<u8>(), 1..80).prop_map(|bytes| Hash::Sha256(bytes.into())),
            proptest::collection::vec(any::<u8>(), 1..80).prop_map(|bytes| Hash::Sha512(bytes.into())),
        ]
    }

    proptest! {
        #[test]
        fn a_user_reads_back(
            name in "\\PC{0,60}",
            hash in hashes(),
            tags in proptest::collection::vec("\\PC{0,20}", 0..5),
            connections in any::<Option<i64>>(),
            channels in any::<Option<i64>>(),
        ) {
            let limits = Limits { connections, channels };
            let user = User { name, hash, tags: Tags(tags), limits };
            let record = decode(&user_key(&user.name), &user_value(&user));
            prop_assert_eq!(record, Some(Record::User(user)));
        }

        #[test]
        fn permissions_read_back(
            [user, vhost, exchange] in ["\\PC{0,40}", "\\PC{0,40}", "\\PC{0,40}"],
            patterns in ["\\PC{0,300}", "\\PC{0,300}", "\\PC{0,300}"],
        ) {
            let record = decode(&permission_key(&user, &vhost), &patterns_value(&patterns));
            prop_assert_eq!(record, Some(Record::Permission(user.clone(), vhost.clone(), patterns.clone())));
            let [write, read, _] = patterns;
            let patterns = [write, read];
            let record = decode(&topic_permission_key(&user, &vhost, &exchange), &patterns_value(&patterns));
            prop_assert_eq!(record, Some(Record::TopicPermission(user, vhost, exchange, patterns)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let _ = decode(&key, &value);
            let value = [&[FORMAT][..], &value].concat();
            for key in [user_key("u"), permission_key("u", "v"), topic_permission_key("u", "v", "x")] {
                let _ = decode(&key, &value);
            }
        }
    }

    #[test]
    fn the_note_of_the_first_user_reads_back() {
        assert_eq!(decode(FIRST_USER, &first_user_value()), Some(Record::FirstUser));
        assert_eq!(decode(FIRST_USER, &[9]), None);
    }
}
