//! The topology as the log's table holds it: one key and value per vhost, exchange, queue, binding and policy.
//!
//! Keys: a tag, then length-prefixed names. Values: a format version, then the definition. Tags and layouts must be
//! kept stable. Comes in: definitions. Goes out: bytes, and definitions again at start. Does not know about live
//! objects.

use super::settings::Settings;
use crate::exchange::binding::{Binding, DestinationKind, Sorted};
use crate::exchange::{self, Type};
use crate::parts::{put, put_long, take, take_long, text};
use crate::pattern::Pattern;
use crate::policy::{ApplyTo, Class, Policy};
use crate::queue;
use leveret_amqp::{FieldTable, RawTable, ShortString};
use leveret_store::QueueId;

const EXCHANGE: u8 = b'x';
const QUEUE: u8 = b'q';
const BINDING: u8 = b'b';
const POLICY: u8 = b'p';
const OPERATOR_POLICY: u8 = b'o';
const VHOST: u8 = b'v';
/// Key that says that the table has its vhosts: before, there was one, and it had no entry.
pub const HAS_VHOSTS: &[u8] = b"V";
/// Version of the values.
const FORMAT: u8 = 1;

const DURABLE: u8 = 1;
const AUTO_DELETE: u8 = 2;
const INTERNAL: u8 = 4;
/// Of a vhost: it is being deleted.
const ENDING: u8 = 1;

/// One entry of the table, read back.
#[derive(Debug, PartialEq)]
pub enum Record {
    /// A vhost.
    Vhost(String, Vhost),
    /// An exchange of a vhost.
    Exchange(String, Exchange),
    /// A queue of a vhost.
    Queue(String, Queue),
    /// A binding of a vhost.
    Binding(String, Binding),
    /// A policy of a vhost.
    Policy(String, Class, Policy),
}

/// A stored vhost.
#[derive(Debug, PartialEq)]
pub struct Vhost {
    /// Its settings.
    pub settings: Settings,
    /// True if it is being deleted.
    pub ending: bool,
}

/// A stored exchange.
#[derive(Debug, PartialEq)]
pub struct Exchange {
    /// Its name.
    pub name: ShortString,
    /// Its type.
    pub kind: &'static Type,
    /// Survives a restart.
    pub durable: bool,
    /// Goes when its last binding goes.
    pub auto_delete: bool,
    /// Clients can't publish to it.
    pub internal: bool,
    /// Arguments as declared.
    pub arguments: RawTable,
}

/// A stored queue.
#[derive(Debug, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: ShortString,
    /// Its number in the log.
    pub id: QueueId,
    /// Goes with its last consumer.
    pub auto_delete: bool,
    /// Arguments as declared.
    pub arguments: RawTable,
}

/// Key of a vhost.
pub fn vhost_key(name: &str) -> Vec<u8> {
    key(VHOST, name, &[])
}

/// Value of a vhost.
pub fn vhost_value(settings: &Settings, ending: bool) -> Vec<u8> {
    let mut out = vec![FORMAT, if ending { ENDING } else { 0 }];
    settings.to_table().encode(&mut out);
    out
}

/// Value of [`HAS_VHOSTS`].
pub fn has_vhosts_value() -> Vec<u8> {
    vec![FORMAT]
}

/// The vhost in a key; `None` if the key has none.
pub fn vhost_of(mut key: &[u8]) -> Option<&str> {
    key.split_off_first()
        .filter(|tag| [EXCHANGE, QUEUE, BINDING, POLICY, OPERATOR_POLICY, VHOST].contains(tag))?;
    std::str::from_utf8(take(&mut key)?).ok()
}

/// True for the key of a vhost.
pub fn is_vhost(key: &[u8]) -> bool {
    key.first() == Some(&VHOST)
}

/// Key of an exchange.
pub fn exchange_key(vhost: &str, name: &ShortString) -> Vec<u8> {
    key(EXCHANGE, vhost, &[name.as_bytes()])
}

/// Value of an exchange.
pub fn exchange_value(definition: &exchange::Definition) -> Vec<u8> {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = flag(definition.durable, DURABLE)
        | flag(definition.auto_delete, AUTO_DELETE)
        | flag(definition.internal, INTERNAL);
    let mut out = vec![FORMAT, flags];
    put(&mut out, definition.kind.name.as_bytes());
    definition.arguments.encode(&mut out);
    out
}

/// Key of a queue.
pub fn queue_key(vhost: &str, name: &ShortString) -> Vec<u8> {
    key(QUEUE, vhost, &[name.as_bytes()])
}

/// Value of a queue.
pub fn queue_value(definition: &queue::Definition, id: QueueId) -> Vec<u8> {
    let mut out = vec![
        FORMAT,
        if definition.auto_delete {
            AUTO_DELETE | DURABLE
        } else {
            DURABLE
        },
    ];
    out.extend_from_slice(&id.to_be_bytes());
    definition.arguments.declared.encode(&mut out);
    out
}

/// Key of a binding: all of it.
pub fn binding_key(vhost: &str, binding: &Binding) -> Vec<u8> {
    let kind: &[u8] = match binding.destination_kind {
        DestinationKind::Queue => b"q",
        DestinationKind::Exchange => b"x",
    };
    let (source, destination) = (binding.source.as_bytes(), binding.destination.as_bytes());
    let mut out = key(
        BINDING,
        vhost,
        &[source, kind, destination, binding.routing_key.as_bytes()],
    );
    binding.arguments.encode(&mut out);
    out
}

/// Value of a binding.
pub fn binding_value() -> Vec<u8> {
    vec![FORMAT]
}

/// Key of a policy.
pub fn policy_key(vhost: &str, class: Class, name: &str) -> Vec<u8> {
    let tag = match class {
        Class::User => POLICY,
        Class::Operator => OPERATOR_POLICY,
    };
    key(tag, vhost, &[name.as_bytes()])
}

/// Value of a policy.
pub fn policy_value(policy: &Policy) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend_from_slice(&policy.priority.to_be_bytes());
    put(&mut out, policy.apply_to.name().as_bytes());
    // It has 1,024 bytes at most.
    put_long(&mut out, policy.pattern.text().as_bytes());
    policy.definition.encode(&mut out);
    out
}

/// Reads an entry back. `None`: not one that this version knows.
pub fn decode(key: &[u8], value: &[u8]) -> Option<Record> {
    let (&tag, mut key) = key.split_first()?;
    let vhost = String::from_utf8(take(&mut key)?.to_vec()).ok()?;
    let (&format, value) = value.split_first()?;
    if format != FORMAT {
        return None;
    }
    match tag {
        VHOST => {
            let (&flags, rest) = value.split_first()?;
            let settings = Settings::of_table(&FieldTable::parse(rest).ok()?);
            let ending = flags & ENDING != 0;
            Some(Record::Vhost(vhost, Vhost { settings, ending }))
        }
        EXCHANGE => {
            let (&flags, mut rest) = value.split_first()?;
            let kind = exchange::type_of(take(&mut rest)?)?;
            let exchange = Exchange {
                name: short(&mut key)?,
                kind,
                durable: flags & DURABLE != 0,
                auto_delete: flags & AUTO_DELETE != 0,
                internal: flags & INTERNAL != 0,
                arguments: RawTable::parse(rest).ok()?,
            };
            Some(Record::Exchange(vhost, exchange))
        }
        QUEUE => {
            let (&flags, rest) = value.split_first()?;
            let (id, rest) = rest.split_at_checked(8)?;
            let id = QueueId::from_be_bytes(id.try_into().ok()?);
            let arguments = RawTable::parse(rest).ok()?;
            Some(Record::Queue(
                vhost,
                Queue {
                    name: short(&mut key)?,
                    id,
                    auto_delete: flags & AUTO_DELETE != 0,
                    arguments,
                },
            ))
        }
        BINDING => {
            let source = short(&mut key)?;
            let destination_kind = match take(&mut key)? {
                b"q" => DestinationKind::Queue,
                b"x" => DestinationKind::Exchange,
                _ => return None,
            };
            let (destination, routing_key) = (short(&mut key)?, short(&mut key)?);
            let arguments = Sorted::restored(&RawTable::parse(key).ok()?);
            Some(Record::Binding(
                vhost,
                Binding {
                    source,
                    destination_kind,
                    destination,
                    routing_key,
                    arguments,
                },
            ))
        }
        POLICY => Some(Record::Policy(vhost, Class::User, policy(key, value)?)),
        OPERATOR_POLICY => Some(Record::Policy(vhost, Class::Operator, policy(key, value)?)),
        _ => None,
    }
}

fn policy(mut key: &[u8], value: &[u8]) -> Option<Policy> {
    let (priority, mut rest) = value.split_first_chunk()?;
    let apply_to = ApplyTo::parse(std::str::from_utf8(take(&mut rest)?).ok()?)?;
    let pattern = take_long(&mut rest)?;
    Some(Policy {
        name: text(take(&mut key)?)?,
        pattern: Pattern::parse(std::str::from_utf8(pattern).ok()?).ok()?,
        apply_to,
        priority: i64::from_be_bytes(*priority),
        definition: FieldTable::parse(rest).ok()?,
    })
}

fn key(tag: u8, vhost: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![tag];
    put(&mut out, vhost.as_bytes());
    for part in parts {
        put(&mut out, part);
    }
    out
}

fn short(from: &mut &[u8]) -> Option<ShortString> {
    ShortString::try_from(take(from)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::FieldValue;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_binding_reads_back(
            source in proptest::collection::vec(any::<u8>(), 0..20),
            destination in proptest::collection::vec(any::<u8>(), 0..20),
            key in proptest::collection::vec(any::<u8>(), 0..255),
            to_queue in any::<bool>(),
            number in any::<i32>(),
        ) {
            let short = |bytes: &[u8]| ShortString::try_from(bytes).expect("short");
            let binding = Binding {
                source: short(&source),
                destination_kind: if to_queue { DestinationKind::Queue } else { DestinationKind::Exchange },
                destination: short(&destination),
                routing_key: short(&key),
                arguments: FieldTable(vec![(ShortString::from_static("n"), FieldValue::Int(number))]).into(),
            };
            let record = decode(&binding_key("/", &binding), &binding_value());
            prop_assert_eq!(record, Some(Record::Binding("/".into(), binding)));
        }

        #[test]
        fn a_policy_reads_back(name in ".{0,60}", pattern in "[a-zé]{0,500}", priority in any::<i64>(), limit in 0..9i64) {
            let definition = FieldTable(vec![(ShortString::from_static("max-length"), limit.into())]);
            let pattern = Pattern::parse(&pattern).expect("a pattern");
            let policy = Policy { name: name.clone(), pattern, apply_to: ApplyTo::Quorum, priority, definition };
            for class in Class::ALL {
                let record = decode(&policy_key("/", class, &name), &policy_value(&policy));
                prop_assert_eq!(record, Some(Record::Policy("/".into(), class, policy.clone())));
            }
        }

        #[test]
        fn a_vhost_reads_back(name in ".{0,60}", description in ".{0,300}", tracing in any::<bool>(), ending in any::<bool>()) {
            let settings = Settings { description, tracing, ..Settings::default() };
            let (key, value) = (vhost_key(&name), vhost_value(&settings, ending));
            prop_assert_eq!((vhost_of(&key), is_vhost(&key)), (Some(name.as_str()), true));
            prop_assert_eq!(decode(&key, &value), Some(Record::Vhost(name, Vhost { settings, ending })));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let _ = decode(&key, &value);
        }
    }
}
