//! Everything that is asked of one kind of object on a broker: by the steps of the pipeline, and by the commands.
//!
//! In: a spec, or a row of the management API. Out: identity, differences, requests and words, by `Declare`.
//! Does not know about the kinds.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::arguments::Arguments;
use super::backlog::Backlog;
use super::listen::Listen;
use super::name::{Name, Target};
use super::touch::Touch;
use crate::object::{LastStatus, Reason};
use crate::resource::{AdoptionPolicy, Kind};

/// An object of one kind, as a resource wants it or as the broker lists it.
pub trait Declare: Clone + Debug + PartialEq + Eq {
    const KIND: Kind;
    /// Its operations as metrics call them.
    const LABELS: Labels;
    /// A resource may go over to another object: the new one is declared, then the old one removed.
    const MOVES: bool = false;
    /// The broker changes it in place when it is declared with other properties.
    const MUTABLE: bool = false;
    /// Not every user may list them: who may not sees none.
    const GUARDED: bool = false;
    /// The reason that is told when [`Declare::wanted`] says that there can be no such object.
    const LACKS: Reason = Reason::InvalidArgument;

    /// The spec of the resources that want it.
    type Spec;
    /// A row of the list.
    type Row: DeserializeOwned + Send;
    /// The part that tells it from all others of its kind.
    type Identity;
    /// All objects of the kind on one broker.
    type All: Default + Send;

    /// The object that the resource called `metadata_name` wants.
    ///
    /// # Errors
    /// There can be no such object, and why.
    fn wanted(spec: &Self::Spec, metadata_name: &str) -> Result<Self, String>;

    fn policies(spec: &Self::Spec) -> Policies;

    /// Paths in the management API of the list of all such objects, and of the lists of their parts.
    fn lists() -> Vec<String>;

    /// The object in a row of the list; `None` for one that is not made by declaring it.
    fn listed(row: Self::Row) -> Option<Self>;

    /// Takes a row in.
    fn take(row: Self::Row, all: &mut Self::All) {
        if let Some(object) = Self::listed(row) {
            object.insert(all);
        }
    }

    /// The backlog in a row, for queues.
    fn backlog(_row: &Self::Row) -> Option<(Name, Backlog)> {
        None
    }

    /// The fields of a spec that asks for this object; those for name, virtual host and broker aside.
    fn spec(&self) -> Map<String, Value>;

    fn identity(&self) -> &Self::Identity;

    /// The object by its name; `None` where it has none.
    fn target(identity: &Self::Identity) -> Option<Target>;

    /// The object of which it is a part on the broker: with it, it goes.
    fn whole(_identity: &Self::Identity) -> Option<Target> {
        None
    }

    /// The virtual host in which it stands; empty where it stands in none.
    fn vhost(identity: &Self::Identity) -> &str;

    /// The broker's own, which is never removed.
    fn is_reserved(identity: &Self::Identity) -> bool;

    /// The object as messages call it.
    fn describe(identity: &Self::Identity) -> String;

    /// Notes in a status that the resource owns the object.
    fn remember(identity: &Self::Identity, last: &mut LastStatus);

    /// The opposite of [`Declare::remember`].
    fn recall(last: &LastStatus) -> Vec<Self::Identity>;

    /// Objects that must stand before this one can be made, and with which it goes.
    fn needs(_identity: &Self::Identity) -> Vec<Need> {
        Vec::new()
    }

    /// Things that it asks for besides.
    fn demands(&self) -> Demands {
        Demands::default()
    }

    /// Objects that parts of it stand in, but for the parts that `all` has already: it is made without the parts for
    /// which one is missing, which wait.
    fn parts(&self, _all: &Self::All) -> Vec<Need> {
        Vec::new()
    }

    /// Leaves out the parts that stand in `missing`.
    fn without(&mut self, _missing: &Target) {}

    /// Objects that the spec names; `lint` looks for them.
    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// Everything that is reached for by the object's identity alone: its virtual host, its name, what it needs.
    fn touches(identity: &Self::Identity) -> Vec<Touch> {
        let needed = Self::needs(identity).into_iter().map(|need| need.target);
        let names = Self::target(identity)
            .into_iter()
            .chain(needed)
            .map(|target| match target.kind {
                Kind::Vhost => Touch::Vhost(target.name.name),
                _ => Touch::Name(target),
            });
        let vhost = Some(Self::vhost(identity)).filter(|vhost| !vhost.is_empty());
        vhost
            .map(|vhost| Touch::Vhost(vhost.to_owned()))
            .into_iter()
            .chain(names)
            .collect()
    }

    /// Everything that is reached for. A kind that gives rights, tags, or properties to others says so here.
    fn reaches(&self) -> Vec<Touch> {
        Self::touches(self.identity())
    }

    fn contains(all: &Self::All, identity: &Self::Identity) -> bool;

    /// True when an object of that name stands.
    fn has(all: &Self::All, name: &Name) -> bool;

    /// Properties of the object that stands which are not as in this one; `None` when it does not stand.
    fn differences(&self, all: &Self::All) -> Option<Vec<String>>;

    /// True if the object that stands only lacks parts of this one, and has nothing that is otherwise.
    fn completes(&self, _all: &Self::All) -> bool {
        false
    }

    fn insert(self, all: &mut Self::All);

    /// Takes it away; whether it was there.
    fn remove(all: &mut Self::All, identity: &Self::Identity) -> bool;

    /// Takes away what goes with `gone`.
    fn forsake(all: &mut Self::All, gone: &Target);

    fn each(all: &Self::All) -> impl Iterator<Item = Self>;

    /// The words of a plan for declaring it.
    fn declaring(&self) -> String;

    /// The words of a plan for removing it.
    fn removing(identity: &Self::Identity, if_free: bool) -> String;

    /// The request that declares it; `None`: it goes by AMQP.
    fn put(&self) -> Option<Request> {
        None
    }

    /// The requests that declare it where `all` stand, one after the other; none: it goes by AMQP.
    fn puts(&self, _all: &Self::All) -> Vec<Request> {
        self.put().into_iter().collect()
    }

    /// The request that removes it; `None`: it goes by AMQP.
    fn delete(_identity: &Self::Identity) -> Option<Request> {
        None
    }
}

/// The names of a kind's operations in metrics.
pub struct Labels {
    pub declare: &'static str,
    pub remove: &'static str,
}

/// The fate of the object on the broker when the resource goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    Delete,
    /// Only when nothing depends on it: the queue is empty, the exchange unused.
    DeleteIfFree,
    Retain,
}

/// The policies by which a resource treats its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policies {
    pub deletion: Deletion,
    pub adoption: AdoptionPolicy,
}

/// Things that an object asks for besides its name, and what that needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// Objects that must stand before it is made, or changed. It stays when they go.
    pub needs: Vec<Need>,
    /// Users of the broker as whom others act by it.
    pub acts: BTreeSet<String>,
    /// The place at which the broker listens for it.
    pub listen: Option<Listen>,
}

/// An object that must stand first, and the reason that is told while it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub target: Target,
    pub reason: Reason,
}

/// An object that a field of a spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub field: &'static str,
    pub target: Target,
}

/// A request to the management API that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub verb: Verb,
    /// Begins with `/api/`.
    pub path: String,
    pub body: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Put,
    Delete,
}

/// A segment of a path (RFC 3986, 3.3).
pub fn escaped(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => path.push(char::from(byte)),
            // A dot too: a segment of dots alone means another folder.
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// Adds a line when a property is not as wanted.
pub(super) fn compare<T: PartialEq + Display>(list: &mut Vec<String>, field: &str, wanted: &T, found: &T) {
    if wanted != found {
        list.push(format!("{field} is {found} on the broker, wanted {wanted}"));
    }
}

/// Adds a line for each argument that is not as wanted.
pub(super) fn compare_arguments(list: &mut Vec<String>, wanted: &Arguments, found: &Arguments) {
    let names: BTreeSet<&str> = wanted.iter().chain(found.iter()).map(|(name, _)| name).collect();
    for name in names {
        let show = |arguments: &Arguments| match arguments.get(name) {
            None if name == "x-queue-type" => "\"classic\"".to_owned(),
            None => "not set".to_owned(),
            Some(value) => value.to_string(),
        };
        compare(list, name, &show(wanted), &show(found));
    }
}

/// The exchange that an argument names, in the virtual host of what is declared with it.
pub(super) fn exchange_named(
    arguments: &Arguments,
    argument: &str,
    field: &'static str,
    vhost: &str,
) -> Vec<Reference> {
    match arguments.get(argument) {
        Some(Value::String(name)) => vec![Reference {
            field,
            target: Target::new(Kind::Exchange, Name::new(vhost, name)),
        }],
        _ => Vec::new(),
    }
}

/// The place where the dead letters of an object go that is declared with arguments: an exchange, or by the default
/// exchange a queue. Without a key the default exchange leads to any queue.
pub(super) fn dead_letters(arguments: &Arguments, exchange: &str, key: &str, vhost: &str) -> Option<Touch> {
    let target = match (arguments.get(exchange)?, arguments.get(key)) {
        (Value::String(exchange), Some(Value::String(key))) if exchange.is_empty() => (Kind::Queue, key),
        (Value::String(exchange), _) => (Kind::Exchange, exchange),
        _ => return None,
    };
    Some(Touch::Name(Target::new(target.0, Name::new(vhost, target.1))))
}

/// Adds the arguments that no field of a spec stands for.
pub(super) fn rest(spec: &mut Map<String, Value>, arguments: &Arguments) {
    if !arguments.is_empty() {
        let map: Map<String, Value> = arguments.iter().map(|(name, value)| (name.to_owned(), value)).collect();
        spec.insert("arguments".to_owned(), Value::Object(map));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths() {
        for (name, path) in [
            ("/", "%2F"),
            ("a b", "a%20b"),
            ("..", "%2E%2E"),
            ("é", "%C3%A9"),
            ("a-b_c", "a-b_c"),
        ] {
            assert_eq!(escaped(name), path);
        }
    }
}
