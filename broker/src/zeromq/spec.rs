//! A socket as it is declared: the value of a parameter, or a table of the settings file.
//!
//! Comes in: a JSON object. Goes out: `Spec`, or the field that is wrong and what it may be. Pure. Does not know
//! whether the queue, the exchange and the user exist: they may come later.

use super::endpoint::Endpoint;
use leveret_amqp::ShortString;
use leveret_zmtp::SocketType;
use leveret_zmtp::curve::PublicKey;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// The kind of parameters that declare sockets.
pub const COMPONENT: &str = "zeromq-socket";

/// A value that can't be used, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

/// `result` of a value's parts.
type Result<T> = std::result::Result<T, Fault>;

/// The type of socket that the broker plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Messages of PUSH sockets, published.
    Pull,
    /// Messages of a queue, to PULL sockets in turn.
    Push,
    /// Messages of PUB sockets, published by their first frame.
    Xsub,
    /// Messages of an exchange, to each SUB socket what it has subscribed to.
    Xpub,
    /// Requests of REQ and DEALER sockets, published; replies, brought back.
    Router,
    /// Requests of a queue, to REP, DEALER and ROUTER sockets that work.
    Dealer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pull,
        Self::Push,
        Self::Xsub,
        Self::Xpub,
        Self::Router,
        Self::Dealer,
    ];

    /// The name in a declaration; the first is shown, all are understood.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Pull => &["pull"],
            Self::Push => &["push"],
            Self::Xsub => &["xsub", "sub"],
            Self::Xpub => &["xpub", "pub"],
            Self::Router => &["router"],
            Self::Dealer => &["dealer"],
        }
    }

    /// The name in a declaration.
    pub fn name(self) -> &'static str {
        self.names().first().unwrap_or(&"")
    }

    /// The type on the wire, which says what peers it talks with.
    pub fn socket_type(self) -> SocketType {
        match self {
            Self::Pull => SocketType::Pull,
            Self::Push => SocketType::Push,
            Self::Xsub => SocketType::XSub,
            Self::Xpub => SocketType::XPub,
            Self::Router => SocketType::Router,
            Self::Dealer => SocketType::Dealer,
        }
    }

    /// True if the peers' messages are published.
    pub fn publishes(self) -> bool {
        matches!(self, Self::Pull | Self::Xsub | Self::Router | Self::Dealer)
    }
}

/// The place on the broker that a socket stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A queue.
    Queue(ShortString),
    /// An exchange, and the routing key of what is published there.
    Exchange(ShortString, ShortString),
}

impl Target {
    /// Exchange and routing key of what is published.
    pub fn route(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Queue(queue) => (&[], queue.as_bytes()),
            Self::Exchange(exchange, key) => (exchange.as_bytes(), key.as_bytes()),
        }
    }
}

/// The way in for peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// None: every peer is this user.
    Null {
        /// The user.
        user: String,
        /// True for peers from everywhere; else they come from this machine.
        anywhere: bool,
    },
    /// Name and password of a user.
    Plain,
    /// A public key for each client, which stands for a user.
    Curve {
        /// Users by the keys of their clients.
        clients: BTreeMap<PublicKey, String>,
    },
}

impl Mechanism {
    /// The name in a declaration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Null { .. } => "null",
            Self::Plain => "plain",
            Self::Curve { .. } => "curve",
        }
    }
}

/// A socket as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its addresses.
    pub listen: Endpoint,
    /// Its type.
    pub role: Role,
    /// The place on the broker.
    pub target: Target,
    /// The way in.
    pub mechanism: Mechanism,
    /// True if messages are persistent, and a peer is read on once the last of them are on disk.
    pub durable: bool,
    /// Messages that a subscriber's queue holds; requests that a peer may have open.
    pub hwm: u32,
    /// Messages handed to a peer that it has not taken; requests that a worker has at a time. 0 is no limit.
    pub prefetch: u32,
    /// Time for a reply.
    pub timeout: Option<Duration>,
    /// True if a request without a reply comes back as an empty frame.
    pub errors: bool,
    /// Bytes of all frames of a message, at most; `None` is the broker's limit.
    pub max_message: Option<u64>,
    /// Frames of a message, at most.
    pub max_frames: usize,
    /// Time between PINGs to a silent peer.
    pub heartbeat: Option<Duration>,
}

use Role::{Dealer, Pull, Push, Router, Xpub, Xsub};

/// The fields of a value, and the types of sockets that have them.
const FIELDS: [(&str, &[Role]); 17] = [
    ("anywhere", &Role::ALL),
    ("curve-clients", &Role::ALL),
    ("durable", &[Pull, Xsub, Router]),
    ("errors", &[Router]),
    ("exchange", &[Pull, Xsub, Xpub, Router]),
    ("heartbeat", &Role::ALL),
    ("hwm", &[Xpub, Router, Dealer]),
    ("listen", &Role::ALL),
    ("max-frames", &Role::ALL),
    ("max-message", &Role::ALL),
    ("mechanism", &Role::ALL),
    ("prefetch", &[Push, Dealer]),
    ("queue", &[Pull, Push, Router, Dealer]),
    ("routing-key", &[Pull, Router]),
    ("timeout", &[Router]),
    ("type", &Role::ALL),
    ("user", &Role::ALL),
];

/// Messages or requests, if nothing is said.
const HWM: u64 = 1000;
/// Frames of a message, if nothing is said.
const MAX_FRAMES: u64 = 64;
/// Milliseconds for a reply, at most: a day.
const LONGEST_REPLY: u64 = 86_400_000;

impl Spec {
    /// Reads a value. Underscores in its fields count as hyphens.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(value: &Value) -> Result<Self> {
        let Value::Object(given) = value else {
            return Err(Fault(format!("the value must be an object, actually was {value}")));
        };
        let fields = Fields::new(given)?;
        let role = fields.role()?;
        fields.check_of(role)?;
        let prefetch = if role == Dealer { 1 } else { 0 };
        Ok(Self {
            listen: fields.listen()?,
            role,
            target: fields.target(role)?,
            mechanism: fields.mechanism()?,
            durable: fields.switch("durable")?,
            hwm: fields.number("hwm", 1, 1_000_000)?.unwrap_or(HWM) as u32,
            prefetch: fields.number("prefetch", 0, 65_535)?.unwrap_or(prefetch) as u32,
            timeout: fields.number("timeout", 1, LONGEST_REPLY)?.map(Duration::from_millis),
            errors: fields.switch("errors")?,
            max_message: fields.number("max-message", 1, u32::MAX.into())?,
            max_frames: fields.number("max-frames", 1, 65_535)?.unwrap_or(MAX_FRAMES) as usize,
            heartbeat: fields
                .number("heartbeat", 0, 65_535)?
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
        })
    }

    /// The queue that messages go to or come from, if it is one.
    pub fn queue(&self) -> Option<&ShortString> {
        match &self.target {
            Target::Queue(queue) => Some(queue),
            Target::Exchange(..) => None,
        }
    }
}

/// The fields of a value by their names with hyphens.
struct Fields<'a>(BTreeMap<String, &'a Value>);

impl<'a> Fields<'a> {
    fn new(given: &'a Map<String, Value>) -> Result<Self> {
        let mut fields = BTreeMap::new();
        for (name, value) in given {
            let known = name.replace('_', "-");
            if known == "replay" {
                let text = "field 'replay' is not carried out by this version: subscribers get what comes from then on";
                return Err(Fault(text.into()));
            }
            if !FIELDS.iter().any(|(field, _)| *field == known) {
                let all: Vec<&str> = FIELDS.iter().map(|(field, _)| *field).collect();
                let text = format!("field '{name}' is not known; known are {}", all.join(", "));
                return Err(Fault(text));
            }
            if fields.insert(known, value).is_some() {
                return Err(Fault(format!("field '{name}' is given twice")));
            }
        }
        fields.retain(|_, value| !value.is_null());
        Ok(Self(fields))
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).copied()
    }

    /// The type, which says what else there may be.
    fn role(&self) -> Result<Role> {
        let given = self.required_text("type")?;
        let known = Role::ALL.into_iter().find(|role| role.names().contains(&given));
        known.ok_or_else(|| {
            let all: Vec<&str> = Role::ALL.iter().flat_map(|role| role.names()).copied().collect();
            let why = match given {
                "pair" => "PAIR is for two sockets alone, not for a broker; ",
                _ => "",
            };
            Fault(format!(
                "type '{given}' is not allowed; {why}it is one of {}",
                all.join(", ")
            ))
        })
    }

    /// Refuses a field that this type doesn't have.
    fn check_of(&self, role: Role) -> Result<()> {
        let strange = FIELDS
            .iter()
            .find(|(field, roles)| self.0.contains_key(*field) && !roles.contains(&role));
        let Some((field, roles)) = strange else { return Ok(()) };
        let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        Err(Fault(format!(
            "field '{field}' is not for type '{}', only for {}",
            role.name(),
            names.join(", ")
        )))
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Fault(format!("{name} must be a string, actually was {other}"))),
        }
    }

    fn required_text(&self, name: &str) -> Result<&'a str> {
        self.text(name)?
            .ok_or_else(|| Fault(format!("field '{name}' is missing")))
    }

    /// A text that AMQP takes as a name or key.
    fn short(&self, name: &str) -> Result<Option<ShortString>> {
        self.text(name)?.map(|text| short(name, text)).transpose()
    }

    fn switch(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(Fault(format!("{name} must be true or false, actually was {other}"))),
        }
    }

    fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Fault(format!(
                "{name} must be a whole number from {least} to {most}, actually was {value}"
            ))),
        }
    }

    fn listen(&self) -> Result<Endpoint> {
        let text = self.required_text("listen")?;
        Endpoint::parse(text).ok_or_else(|| {
            let form = "tcp://HOST:PORT, with an address, [::1] for one, or * for all of them as HOST";
            Fault(format!("listen '{text}' is not {form}"))
        })
    }

    fn target(&self, role: Role) -> Result<Target> {
        let (queue, exchange) = (self.short("queue")?, self.short("exchange")?);
        let key = self.short("routing-key")?;
        match (queue, exchange) {
            (Some(_), Some(_)) => Err(Fault("there may be one of 'queue' and 'exchange', not both".into())),
            (Some(queue), None) if queue.is_empty() => Err(Fault("queue must have a name".into())),
            (Some(queue), None) => match key {
                None => Ok(Target::Queue(queue)),
                Some(_) => Err(Fault("routing-key goes with 'exchange', not with 'queue'".into())),
            },
            (None, Some(exchange)) if role == Xpub && exchange.is_empty() => Err(Fault(
                "nothing can be bound to the default exchange; exchange must have a name".into(),
            )),
            (None, Some(exchange)) => Ok(Target::Exchange(exchange, key.unwrap_or_default())),
            (None, None) => Err(Fault(match role {
                Pull | Router => "one of 'queue' and 'exchange' is missing".into(),
                Push | Dealer => "field 'queue' is missing".into(),
                Xsub | Xpub => "field 'exchange' is missing".into(),
            })),
        }
    }

    fn mechanism(&self) -> Result<Mechanism> {
        let name = self.text("mechanism")?.unwrap_or("null");
        let only = |field: &str, of: &str| match self.get(field) {
            Some(_) if name != of => Err(Fault(format!("{field} goes with mechanism '{of}', not with '{name}'"))),
            _ => Ok(()),
        };
        only("user", "null")?;
        only("anywhere", "null")?;
        only("curve-clients", "curve")?;
        match name {
            "null" => Ok(Mechanism::Null {
                user: self
                    .text("user")?
                    .filter(|user| !user.is_empty())
                    .ok_or_else(|| Fault("field 'user' is missing: with mechanism 'null' peers act as a user".into()))?
                    .to_owned(),
                anywhere: self.switch("anywhere")?,
            }),
            "plain" => Ok(Mechanism::Plain),
            "curve" => self.clients().map(|clients| Mechanism::Curve { clients }),
            other => Err(Fault(format!(
                "mechanism '{other}' is not allowed; it is one of null, plain, curve"
            ))),
        }
    }

    fn clients(&self) -> Result<BTreeMap<PublicKey, String>> {
        let given = match self.get("curve-clients") {
            Some(Value::Object(clients)) => clients,
            None => {
                return Err(Fault(
                    "field 'curve-clients' is missing: public keys and their users".into(),
                ));
            }
            Some(other) => {
                let text = format!("curve-clients must be an object of public keys and users, actually was {other}");
                return Err(Fault(text));
            }
        };
        given
            .iter()
            .map(|(key, user)| {
                let octets = PublicKey::from_z85(key)
                    .ok_or_else(|| Fault(format!("curve-clients: '{key}' is not a key: 40 characters in Z85")))?;
                match user {
                    Value::String(user) if !user.is_empty() => Ok((octets, user.clone())),
                    other => Err(Fault(format!(
                        "curve-clients: the user of '{key}' must be a name, actually was {other}"
                    ))),
                }
            })
            .collect()
    }
}

fn short(name: &str, text: &str) -> Result<ShortString> {
    ShortString::try_from(text).map_err(|_| Fault(format!("{name} is longer than 255 bytes")))
}

#[cfg(test)]
mod tests;
