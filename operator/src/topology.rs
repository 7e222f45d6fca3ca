//! What stands on a broker, and what changes it: exchanges, queues, bindings by their names, with their definitions.
//!
//! In: specs of resources, rows of the management API. Out: the vocabulary that the sync steps, the commands and the
//! broker edge share. Does not know about sources, the pipeline, or the wire.
//! All that is peculiar to a kind stands in its module; here the kinds are put together from the list in `resource`.

/// `ZeroMqSocket`.
pub mod zero_mq_socket;

/// `Vhost`.
pub mod vhost;

/// `TopicPermission`.
pub mod topic_permission;

/// `Permission`.
pub mod permission;

/// A right of a user, by itself.
pub mod grant;

/// `User`.
pub mod user;

/// `OperatorPolicy`.
pub mod operator_policy;

/// `Policy`.
pub mod policy;

/// `Exchange`.
pub mod exchange;

/// `Queue`.
pub mod queue;

/// `Binding`.
pub mod binding;

/// The shorthands of a queue.
mod shorthand;

/// Kinds with a name: what they have in common.
pub mod named;

/// Questions that every kind answers.
pub mod declaration;

/// Everything that an object reaches for.
pub mod touch;

/// Messages that wait in a queue, and their rates.
pub mod backlog;

/// Arguments of declarations.
pub mod arguments;

/// Addresses at which a broker listens.
pub mod listen;

/// Names, and the words for them.
pub mod name;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

pub use arguments::Arguments;
pub use binding::{BindingDefinition, End};
pub use declaration::{Deletion, Demands, Need, Policies, Reference, Request, Verb, escaped};
pub use exchange::ExchangeDefinition;
pub use listen::Listen;
pub use name::{Name, Target};
pub use named::Named;
pub use queue::QueueDefinition;
pub use touch::Touch;
pub use zero_mq_socket::{SocketState, ZeroMqSocketDefinition};

use crate::object::{AnyObject, Group, LastStatus, Reason};
use crate::resource::{Kind, each_kind, each_own_kind};
use declaration::Declare;

/// The objects of a kind on a broker. Rights of users stand among the users.
trait Among<D: Declare> {
    fn among(&self) -> &D::All;

    fn among_mut(&mut self) -> &mut D::All;
}

macro_rules! stand {
    (Broker(BrokerSpec) broker brokers; $($Kind:ident($Spec:ident) $kind:ident $plural:ident;)*) => {
        /// Everything that is known to stand on a broker.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Topology {
            $(pub $plural: <$kind::Declaration as Declare>::All,)*
        }

        $(impl Among<$kind::Declaration> for Topology {
            fn among(&self) -> &<$kind::Declaration as Declare>::All {
                &self.$plural
            }

            fn among_mut(&mut self) -> &mut <$kind::Declaration as Declare>::All {
                &mut self.$plural
            }
        })*
    };
}
each_own_kind!(stand);

impl<C: grant::Class> Among<grant::Grant<C>> for Topology {
    fn among(&self) -> &<user::Declaration as Declare>::All {
        &self.users
    }

    fn among_mut(&mut self) -> &mut <user::Declaration as Declare>::All {
        &mut self.users
    }
}

macro_rules! assemble {
    (Broker(BrokerSpec) broker brokers; $($Kind:ident($Spec:ident) $kind:ident $plural:ident;)*) => {
        /// An object as a resource wants it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Declared {
            $($Kind($kind::Declaration),)*
        }

        /// The identity of an object on the broker, as a resource owns it.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Identity {
            $($Kind(<$kind::Declaration as Declare>::Identity),)*
        }

        /// The wish of a resource by its spec alone; `None`: nothing on a broker.
        fn spelled_out(object: &AnyObject) -> Option<Wish> {
            match object {
                AnyObject::Broker(_) => None,
                $(AnyObject::$Kind(object) => Some(Wish {
                    declared: $kind::Declaration::wanted(&object.spec, &object.meta.key.name).map(Declared::$Kind),
                    lacks: $kind::Declaration::LACKS,
                    policies: $kind::Declaration::policies(&object.spec),
                }),)*
            }
        }

        impl Declared {
            pub fn kind(&self) -> Kind {
                match self {
                    $(Declared::$Kind(_) => Kind::$Kind,)*
                }
            }

            /// See [`Identity::vhost`].
            pub fn vhost(&self) -> &str {
                match self {
                    $(Declared::$Kind(object) => $kind::Declaration::vhost(object.identity()),)*
                }
            }

            pub fn identity(&self) -> Identity {
                match self {
                    $(Declared::$Kind(object) => Identity::$Kind(object.identity().clone()),)*
                }
            }

            /// See [`Declare::MOVES`].
            pub fn moves(&self) -> bool {
                match self {
                    $(Declared::$Kind(_) => $kind::Declaration::MOVES,)*
                }
            }

            /// See [`Declare::MUTABLE`].
            pub fn is_mutable(&self) -> bool {
                match self {
                    $(Declared::$Kind(_) => $kind::Declaration::MUTABLE,)*
                }
            }

            /// See [`Declare::parts`].
            pub fn parts(&self, topology: &Topology) -> Vec<Need> {
                match self {
                    $(Declared::$Kind(object) => object.parts(topology.of::<$kind::Declaration>()),)*
                }
            }

            /// See [`Declare::demands`].
            pub fn demands(&self) -> Demands {
                match self {
                    $(Declared::$Kind(object) => object.demands(),)*
                }
            }

            /// See [`Declare::without`].
            pub fn without(&mut self, missing: &Target) {
                match self {
                    $(Declared::$Kind(object) => object.without(missing),)*
                }
            }

            /// See [`Declare::references`].
            pub fn references(&self) -> Vec<Reference> {
                match self {
                    $(Declared::$Kind(object) => object.references(),)*
                }
            }

            /// See [`Declare::reaches`].
            pub fn reaches(&self) -> Vec<Touch> {
                match self {
                    $(Declared::$Kind(object) => object.reaches(),)*
                }
            }

            /// See [`Declare::differences`].
            pub fn differences(&self, topology: &Topology) -> Option<Vec<String>> {
                match self {
                    $(Declared::$Kind(object) => object.differences(topology.of::<$kind::Declaration>()),)*
                }
            }

            /// See [`Declare::completes`].
            pub fn completes(&self, topology: &Topology) -> bool {
                match self {
                    $(Declared::$Kind(object) => object.completes(topology.of::<$kind::Declaration>()),)*
                }
            }

            /// See [`Declare::spec`].
            pub fn spec(&self) -> Map<String, Value> {
                match self {
                    $(Declared::$Kind(object) => object.spec(),)*
                }
            }

            fn label(&self) -> &'static str {
                match self {
                    $(Declared::$Kind(_) => $kind::Declaration::LABELS.declare,)*
                }
            }

            fn words(&self) -> String {
                match self {
                    $(Declared::$Kind(object) => object.declaring(),)*
                }
            }

            fn request(&self) -> Option<Request> {
                match self {
                    $(Declared::$Kind(object) => object.put(),)*
                }
            }

            fn requests(&self, topology: &Topology) -> Vec<Request> {
                match self {
                    $(Declared::$Kind(object) => object.puts(topology.of::<$kind::Declaration>()),)*
                }
            }
        }

        impl Identity {
            pub fn kind(&self) -> Kind {
                match self {
                    $(Identity::$Kind(_) => Kind::$Kind,)*
                }
            }

            /// The object by its name; `None` for a binding, which has none.
            pub fn target(&self) -> Option<Target> {
                match self {
                    $(Identity::$Kind(identity) => $kind::Declaration::target(identity),)*
                }
            }

            /// See [`Declare::whole`].
            pub fn whole(&self) -> Option<Target> {
                match self {
                    $(Identity::$Kind(identity) => $kind::Declaration::whole(identity),)*
                }
            }

            /// The virtual host in which it stands; empty where it stands in none.
            pub fn vhost(&self) -> &str {
                match self {
                    $(Identity::$Kind(identity) => $kind::Declaration::vhost(identity),)*
                }
            }

            /// The broker's own, which is never removed.
            pub fn is_reserved(&self) -> bool {
                match self {
                    $(Identity::$Kind(identity) => $kind::Declaration::is_reserved(identity),)*
                }
            }

            /// See [`Declare::needs`].
            pub fn needs(&self) -> Vec<Need> {
                match self {
                    $(Identity::$Kind(identity) => $kind::Declaration::needs(identity),)*
                }
            }

            /// See [`Declare::touches`].
            pub fn touches(&self) -> Vec<Touch> {
                match self {
                    $(Identity::$Kind(identity) => $kind::Declaration::touches(identity),)*
                }
            }

            /// Notes in a status that the resource owns this.
            pub fn remember(&self, last: &mut LastStatus) {
                match self {
                    $(Identity::$Kind(identity) => $kind::Declaration::remember(identity, last),)*
                }
            }

            /// Everything that a resource owned when its status was last written.
            pub fn recall(kind: Kind, last: &LastStatus) -> BTreeSet<Identity> {
                match kind {
                    Kind::Broker => BTreeSet::new(),
                    $(Kind::$Kind => $kind::Declaration::recall(last).into_iter().map(Identity::$Kind).collect(),)*
                }
            }

            fn label(&self) -> &'static str {
                match self {
                    $(Identity::$Kind(_) => $kind::Declaration::LABELS.remove,)*
                }
            }

            fn removing(&self, if_free: bool) -> String {
                match self {
                    $(Identity::$Kind(identity) => $kind::Declaration::removing(identity, if_free),)*
                }
            }

            fn request(&self) -> Option<Request> {
                match self {
                    $(Identity::$Kind(identity) => $kind::Declaration::delete(identity),)*
                }
            }
        }

        /// As messages call it.
        impl fmt::Display for Identity {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Identity::$Kind(identity) => f.write_str(&$kind::Declaration::describe(identity)),)*
                }
            }
        }

        impl Topology {
            pub fn contains(&self, identity: &Identity) -> bool {
                match identity {
                    $(Identity::$Kind(identity) => $kind::Declaration::contains(self.of::<$kind::Declaration>(), identity),)*
                }
            }

            /// True when an object of that name stands.
            pub fn has(&self, target: &Target) -> bool {
                match target.kind {
                    Kind::Broker => false,
                    $(Kind::$Kind => $kind::Declaration::has(self.of::<$kind::Declaration>(), &target.name),)*
                }
            }

            pub fn insert(&mut self, declared: Declared) {
                match declared {
                    $(Declared::$Kind(object) => object.insert(self.of_mut::<$kind::Declaration>()),)*
                }
            }

            /// Everything, kind by kind.
            pub fn each(&self) -> impl Iterator<Item = Declared> {
                std::iter::empty()
                    $(.chain($kind::Declaration::each(self.of::<$kind::Declaration>()).map(Declared::$Kind)))*
            }

            /// Takes something away, and what goes with it; whether it was there.
            pub fn remove(&mut self, identity: &Identity) -> bool {
                let known = match identity {
                    $(Identity::$Kind(identity) => $kind::Declaration::remove(self.of_mut::<$kind::Declaration>(), identity),)*
                };
                if let Some(gone) = identity.target() {
                    $($kind::Declaration::forsake(self.of_mut::<$kind::Declaration>(), &gone);)*
                }
                known
            }
        }
    };
}
each_kind!(assemble);

/// The wish of a resource; `None`: nothing on a broker.
pub fn wish(object: &AnyObject) -> Option<Wish> {
    let wish = spelled_out(object)?;
    let (Group::RabbitMq, AnyObject::User(user)) = (object.meta().key.group, object) else {
        return Some(wish);
    };
    if user.spec.name.is_none() {
        return Some(Wish {
            declared: Err("the name of the user stands in its Secret, which is not known yet".to_owned()),
            lacks: Reason::WaitingForSecret,
            ..wish
        });
    }
    let declared = wish.declared.map(|declared| match declared {
        Declared::User(mut user) => {
            user.definition.rights_elsewhere = true;
            Declared::User(user)
        }
        other => other,
    });
    Some(Wish { declared, ..wish })
}

impl Topology {
    fn of<D: Declare>(&self) -> &D::All
    where
        Self: Among<D>,
    {
        self.among()
    }

    fn of_mut<D: Declare>(&mut self) -> &mut D::All
    where
        Self: Among<D>,
    {
        self.among_mut()
    }
}

impl Declared {
    /// True for a user that is declared with all its rights: who else gives it any has nothing to say.
    pub fn has_all_rights(&self) -> bool {
        matches!(self, Declared::User(user) if !user.definition.rights_elsewhere)
    }

    /// Everything that must stand before it is made.
    pub fn needs(&self) -> Vec<Need> {
        [self.identity().needs(), self.demands().needs].concat()
    }

    /// The part of it that can be made where `topology` stands, and `comes`; and the first of what the rest waits for.
    pub fn within(&self, topology: &Topology, comes: impl Fn(&Target) -> bool) -> (Cow<'_, Declared>, Option<Need>) {
        let is_missing = |need: &Need| !topology.has(&need.target) && !comes(&need.target);
        let mut missing = self.parts(topology).into_iter().filter(is_missing).peekable();
        let first = missing.peek().cloned();
        let mut part = Cow::Borrowed(self);
        missing.for_each(|need| part.to_mut().without(&need.target));
        (part, first)
    }
}

impl Topology {
    /// Something that stands in a virtual host, beside the broker's own.
    pub fn inside(&self, vhost: &Name) -> Option<Identity> {
        let mut all = self.each().map(|object| object.identity());
        all.find(|identity| identity.vhost() == vhost.name && !identity.is_reserved())
    }
}

/// The wish of a resource.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The object, or why there can be none.
    pub declared: Result<Declared, String>,
    /// The reason for that.
    pub lacks: Reason,
    pub policies: Policies,
}

/// One thing to do on a broker. Each is idempotent, so that it may be repeated when its answer got lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Declare(Declared),
    /// `if_free` is checked by the broker together with the removal, so that no message can slip in between: a queue
    /// must be empty, an exchange unused.
    Remove {
        identity: Identity,
        if_free: bool,
    },
}

/// An operation as it goes to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub operation: Operation,
    /// The requests to the management API that do it, one after the other; none: it goes by AMQP.
    pub requests: Vec<Request>,
}

impl Order {
    /// The way to do `operation` where `topology` stands.
    pub fn new(operation: Operation, topology: &Topology) -> Self {
        let requests = match &operation {
            Operation::Declare(declared) => declared.requests(topology),
            Operation::Remove { identity, .. } => identity.request().into_iter().collect(),
        };
        Self { operation, requests }
    }
}

/// The object that stands after an operation, or is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    pub identity: Identity,
    pub stands: bool,
}

/// Parts of a plan; all operations of one phase may go at once, the next phase needs the one before. Kinds are declared
/// in their order and removed in the opposite one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Declare(Kind),
    Remove(Reverse<Kind>),
}

impl Operation {
    pub fn declares(&self) -> bool {
        matches!(self, Operation::Declare(_))
    }

    pub fn identity(&self) -> Identity {
        match self {
            Operation::Declare(declared) => declared.identity(),
            Operation::Remove { identity, .. } => identity.clone(),
        }
    }

    /// The virtual host in which it happens; empty where it happens in none.
    pub fn vhost(&self) -> &str {
        match self {
            Operation::Declare(declared) => declared.vhost(),
            Operation::Remove { identity, .. } => identity.vhost(),
        }
    }

    pub fn effect(&self) -> Effect {
        Effect {
            identity: self.identity(),
            stands: self.declares(),
        }
    }

    pub fn phase(&self) -> Phase {
        match self {
            Operation::Declare(declared) => Phase::Declare(declared.kind()),
            Operation::Remove { identity, .. } => Phase::Remove(Reverse(identity.kind())),
        }
    }

    /// For metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Operation::Declare(declared) => declared.label(),
            Operation::Remove { identity, .. } => identity.label(),
        }
    }

    /// As a plan tells it.
    pub fn words(&self) -> String {
        match self {
            Operation::Declare(declared) => declared.words(),
            Operation::Remove { identity, if_free } => identity.removing(*if_free),
        }
    }

    /// The first of what it needs that does not stand.
    pub fn missing(&self, topology: &Topology) -> Option<Need> {
        let Operation::Declare(declared) = self else {
            return None;
        };
        declared.needs().into_iter().find(|need| !topology.has(&need.target))
    }

    /// It goes by the management API rather than by AMQP.
    pub fn is_http(&self) -> bool {
        match self {
            Operation::Declare(declared) => declared.request().is_some(),
            Operation::Remove { identity, .. } => identity.request().is_some(),
        }
    }

    /// Does it to what is known to stand.
    pub fn apply(&self, topology: &mut Topology) {
        match self {
            Operation::Declare(declared) => topology.insert(declared.clone()),
            Operation::Remove { identity, .. } => drop(topology.remove(identity)),
        }
    }
}

#[cfg(test)]
mod tests;
