//! The list of kinds: what has one part for each of them is made from it.
//!
//! In: nothing. Out: `Kind`; elsewhere whatever `each_kind` or `each_own_kind` is given to. Does not know about the
//! specs of the kinds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds, each on one line: its name, its spec, its word in messages (which is the name of its modules), its
/// plural. They stand in the order in which they are made on a broker, and are removed in the opposite one. `Broker` is
/// first. `$rights`: the kinds that RabbitMQ's topology operator has beside these.
macro_rules! kinds {
    ($then:ident, $($rights:tt)*) => {
        $then! {
            Broker(BrokerSpec) broker brokers;
            Vhost(VhostSpec) vhost vhosts;
            User(UserSpec) user users;
            $($rights)*
            OperatorPolicy(OperatorPolicySpec) operator_policy operatorpolicies;
            Policy(PolicySpec) policy policies;
            Exchange(ExchangeSpec) exchange exchanges;
            Queue(QueueSpec) queue queues;
            Binding(BindingSpec) binding bindings;
            ZeroMqSocket(ZeroMqSocketSpec) zero_mq_socket zeromqsockets;
        }
    };
}

/// The kinds that there are definitions of, each with a place of its own on a broker.
macro_rules! each_own_kind {
    ($then:ident) => {
        $crate::resource::list::kinds! { $then, }
    };
}

/// All kinds: also those whose objects are parts of a user on a broker, and of a User in the group `leveret.dev`.
macro_rules! each_kind {
    ($then:ident) => {
        $crate::resource::list::kinds! {
            $then,
            Permission(PermissionSpec) permission permissions;
            TopicPermission(TopicPermissionSpec) topic_permission topicpermissions;
        }
    };
}

pub(crate) use {each_kind, each_own_kind, kinds};

macro_rules! assemble {
    ($($Kind:ident($Spec:ident) $word:ident $plural:ident;)*) => {
        /// The kinds, in the order in which they are created.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $($Kind,)*
        }

        impl Kind {
            /// All of them, wherever there are such objects.
            pub const ALL: [Kind; [$(stringify!($Kind)),*].len()] = [$(Kind::$Kind),*];

            /// The name as it stands in a manifest.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$Kind => stringify!($Kind),)*
                }
            }

            /// The word of messages for such an object on a broker.
            pub fn word(self) -> &'static str {
                match self {
                    $(Kind::$Kind => spoken(stringify!($word)),)*
                }
            }

            /// The name in paths of the API server.
            pub fn plural(self) -> &'static str {
                match self {
                    $(Kind::$Kind => stringify!($plural),)*
                }
            }
        }
    };
}
each_kind!(assemble);

macro_rules! own {
    ($($Kind:ident($Spec:ident) $word:ident $plural:ident;)*) => {
        impl Kind {
            /// Those of the group `leveret.dev`.
            pub const OWN: [Kind; [$(stringify!($Kind)),*].len()] = [$(Kind::$Kind),*];
        }
    };
}
each_own_kind!(own);

impl Kind {
    /// The kind that the rights of a namespace are about: who may give rights to users may make users.
    pub fn governed_by(self) -> Kind {
        match self {
            Kind::Permission | Kind::TopicPermission => Kind::User,
            other => other,
        }
    }
}

/// The name of a module as messages say it.
fn spoken(word: &'static str) -> &'static str {
    match word {
        "operator_policy" => "operator policy",
        "topic_permission" => "topic permission",
        "zero_mq_socket" => "ZeroMQ socket",
        word => word,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
