//! ZeroMQ sockets: what they are declared with, and what there is to say of them. On the broker such a socket is a
//! runtime parameter; its key is put apart from it, so that whoever reads parameters doesn't see it.
//!
//! In: the spec of a ZeroMqSocket, rows of `GET /api/parameters/zeromq-socket` and `/api/zeromq/sockets`. Out:
//! `ZeroMqSocketDefinition`, and requests to the management API: AMQP has no method for it. Does not know about
//! Secrets, nor about what a socket does with messages.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Table};
use super::declaration::{
    Deletion, Demands, Labels, Need, Policies, Reference, Request, Verb, compare_arguments, escaped,
};
use super::listen::Listen;
use super::name::{Name, Target};
use super::named::{Definition, Named, Removal};
use super::touch::Touch;
use crate::object::{CurveKey, Reason};
use crate::resource::{Curve, CurveClient, Kind, Mechanism, Period, ZeroMqSocketDeletionPolicy, ZeroMqSocketSpec};

/// A socket by its name.
pub type Declaration = Named<ZeroMqSocketDefinition>;

/// The component of such parameters.
pub const COMPONENT: &str = "zeromq-socket";
/// Fields of a parameter's value, as the broker names them.
const LISTEN: &str = "listen";
const TYPE: &str = "type";
const QUEUE: &str = "queue";
const EXCHANGE: &str = "exchange";
const ROUTING_KEY: &str = "routing-key";
const MECHANISM: &str = "mechanism";
const USER: &str = "user";
const ANYWHERE: &str = "anywhere";
const CLIENTS: &str = "curve-clients";
const DURABLE: &str = "durable";
const HWM: &str = "hwm";
const PREFETCH: &str = "prefetch";
const TIMEOUT: &str = "timeout";
const ERRORS: &str = "errors";
const MAX_MESSAGE: &str = "max-message";
const MAX_FRAMES: &str = "max-frames";
const HEARTBEAT: &str = "heartbeat";

/// The properties that a socket is declared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZeroMqSocketDefinition {
    /// The value of the parameter, but for what is so without a word.
    value: Arguments,
    /// Users that are named by their resources, and are still to be looked up.
    references: BTreeMap<Actor, String>,
    /// The broker's key; `None`: the broker makes its own, or it is not known.
    pub key: Option<CurveKey>,
    /// The broker's word on it; `None`: not asked since it was declared.
    pub state: Option<SocketState>,
}

/// Those of a socket who act as a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// Everybody.
    All,
    /// The client with this public key.
    Client(String),
}

/// A socket as the broker says it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketState {
    /// The address at which it listens.
    pub address: Option<String>,
    /// The reason why it does not.
    pub error: Option<String>,
    /// The key that clients need.
    pub public_key: Option<String>,
}

/// A row of one of the two lists.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Row {
    Parameter(ParameterRow),
    State(StateRow),
}

#[derive(Deserialize)]
pub struct ParameterRow {
    vhost: String,
    name: String,
    value: Table,
}

/// Sockets that are no parameters, but settings, are in this list too.
#[derive(Deserialize)]
pub struct StateRow {
    vhost: String,
    name: String,
    #[serde(default)]
    address: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    curve_server_key: Option<String>,
}

impl Definition for ZeroMqSocketDefinition {
    const KIND: Kind = Kind::ZeroMqSocket;
    const LABELS: Labels = Labels {
        declare: "put_zeromq_socket",
        remove: "delete_zeromq_socket",
    };
    const MUTABLE: bool = true;
    const GUARDED: bool = true;
    const REMOVAL: Removal = Removal {
        if_free: "",
        always: "",
    };

    type Spec = ZeroMqSocketSpec;
    type Row = Row;

    fn name(spec: &ZeroMqSocketSpec, metadata_name: &str) -> Name {
        Name::new(&spec.vhost, spec.name.as_deref().unwrap_or(metadata_name))
    }

    fn wanted(spec: &ZeroMqSocketSpec) -> Result<Self, String> {
        // Without `..`: no field may be forgotten.
        let ZeroMqSocketSpec {
            broker_ref: _,
            name: _,
            vhost: _,
            socket_type,
            port,
            address,
            queue,
            exchange,
            routing_key,
            mechanism,
            user_ref,
            user,
            anywhere,
            curve,
            durable,
            hwm,
            prefetch,
            timeout,
            errors,
            max_message,
            max_frames,
            heartbeat,
            deletion_policy: _,
            adoption_policy: _,
        } = spec;
        let listen = Listen::at(address.as_deref(), *port)?;
        let mut value = Map::new();
        let mut put = |field: &str, given: Value| value.insert(field.to_owned(), given);
        put(LISTEN, json!(listen.to_string()));
        put(TYPE, json!(socket_type.as_str()));
        put(QUEUE, json!(queue));
        put(EXCHANGE, json!(exchange));
        put(ROUTING_KEY, json!(routing_key));
        put(MECHANISM, json!(mechanism.as_str()));
        put(USER, json!(user));
        put(ANYWHERE, json!(anywhere));
        put(DURABLE, json!(durable));
        put(HWM, json!(hwm));
        put(PREFETCH, json!(prefetch));
        put(TIMEOUT, json!(millis(TIMEOUT, timeout.as_ref())?));
        put(ERRORS, json!(errors));
        put(MAX_MESSAGE, json!(max_message));
        put(MAX_FRAMES, json!(max_frames));
        put(HEARTBEAT, json!(seconds(HEARTBEAT, heartbeat.as_ref())?));
        let (clients, mut references) = clients(curve.as_ref())?;
        put(CLIENTS, Value::Object(clients));
        if let Some(user) = user_ref {
            references.insert(Actor::All, user.name.clone());
        }
        Ok(Self {
            value: told(value),
            references,
            ..Self::default()
        })
    }

    fn policies(spec: &ZeroMqSocketSpec) -> Policies {
        Policies {
            deletion: match spec.deletion_policy {
                ZeroMqSocketDeletionPolicy::Delete => Deletion::Delete,
                ZeroMqSocketDeletionPolicy::Retain => Deletion::Retain,
            },
            adoption: spec.adoption_policy,
        }
    }

    fn lists() -> Vec<String> {
        // The rows of the first make the sockets whose state the others tell.
        vec![format!("/api/parameters/{COMPONENT}"), "/api/zeromq/sockets".to_owned()]
    }

    fn listed(row: Row) -> Named<Self> {
        match row {
            Row::Parameter(ParameterRow { vhost, name, value }) => {
                let value = match value {
                    Table::Map(value) => value.into_iter().collect(),
                    Table::Other => Map::new(),
                };
                let definition = Self {
                    value: told(value),
                    ..Self::default()
                };
                Named::new(Name::new(vhost, name), definition)
            }
            Row::State(row) => {
                let state = SocketState {
                    address: row.address,
                    error: row.error,
                    public_key: row.curve_server_key,
                };
                let definition = Self {
                    state: Some(state),
                    ..Self::default()
                };
                Named::new(Name::new(row.vhost, row.name), definition)
            }
        }
    }

    fn take(row: Row, all: &mut BTreeMap<Name, Self>) {
        let is_whole = matches!(row, Row::Parameter(_));
        let Named { name, definition } = Self::listed(row);
        if is_whole {
            all.insert(name, definition);
        } else if let Some(socket) = all.get_mut(&name) {
            socket.state = definition.state;
        }
    }

    fn spec(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        let mut put = |field: &str, value: Value| spec.insert(field.to_owned(), value);
        for (field, value) in self.value.iter() {
            match field {
                LISTEN => {
                    let listen = Listen::read(&self.place());
                    put("port", json!(listen.as_ref().map(|listen| listen.port)));
                    if let Some(host) = listen.and_then(|listen| listen.host) {
                        put("address", json!(host));
                    }
                }
                MECHANISM => {
                    put(MECHANISM, json!(mechanism(&value)));
                }
                CLIENTS => {
                    let clients = value.as_object().into_iter().flatten();
                    let clients = clients.map(|(key, user)| json!({"publicKey": key, "user": user}));
                    put("curve", json!({ "clients": clients.collect::<Vec<_>>() }));
                }
                TIMEOUT => {
                    put(TIMEOUT, json!(format!("{value}ms")));
                }
                HEARTBEAT => {
                    put(HEARTBEAT, json!(format!("{value}s")));
                }
                ROUTING_KEY => {
                    put("routingKey", value);
                }
                MAX_MESSAGE => {
                    put("maxMessage", value);
                }
                MAX_FRAMES => {
                    put("maxFrames", value);
                }
                field => {
                    put(field, value);
                }
            }
        }
        spec
    }

    fn differences(&self, found: &Self) -> Vec<String> {
        let mut list = Vec::new();
        compare_arguments(&mut list, &self.value, &found.value);
        if let (Some(key), Some(state)) = (&self.key, &found.state)
            && found.is_curve()
            && state.public_key.as_deref() != Some(key.public())
        {
            let stands = state.public_key.as_deref().unwrap_or("not known");
            list.push(format!(
                "its public key is {stands} on the broker, wanted {}",
                key.public()
            ));
        }
        list
    }

    fn references(&self, vhost: &str) -> Vec<Reference> {
        let reference = |kind, field, name: Option<String>| {
            name.map(|name| Reference {
                field,
                target: Target::new(kind, Name::new(vhost, name)),
            })
        };
        let all = [
            reference(Kind::Queue, QUEUE, self.text(QUEUE)),
            reference(Kind::Exchange, EXCHANGE, self.text(EXCHANGE)),
        ];
        all.into_iter().flatten().collect()
    }

    fn reaches(&self, vhost: &str) -> Vec<Touch> {
        let takes = self.text(TYPE).as_deref() == Some("xpub");
        let touch = |Reference { target, .. }| match target.kind {
            Kind::Exchange if takes => Touch::Source(target),
            _ => Touch::Name(target),
        };
        self.references(vhost).into_iter().map(touch).collect()
    }

    fn demands(&self) -> Demands {
        let acts = self.acts();
        let need = |user: &String| Need {
            target: Target::new(Kind::User, Name::new("", user)),
            reason: Reason::WaitingForUser,
        };
        Demands {
            needs: acts.iter().map(need).collect(),
            acts,
            listen: Listen::read(&self.place()),
        }
    }

    /// All names are users'.
    fn is_reserved(_: &Name) -> bool {
        false
    }

    fn remark(&self) -> Option<String> {
        Some(format!("{} at {}", self.text(TYPE)?, self.text(LISTEN)?))
    }

    fn put(&self, name: &Name) -> Option<Request> {
        let mut value: BTreeMap<String, Value> = self.value.clone().into();
        if self.is_curve() {
            value.entry(CLIENTS.to_owned()).or_insert_with(|| json!({}));
        }
        Some(Request {
            verb: Verb::Put,
            path: path(name),
            body: Some(json!({ "value": value })),
        })
    }

    /// The parameter first: a broker that has no such sockets says so of it.
    fn puts(&self, name: &Name, found: Option<&Self>) -> Vec<Request> {
        let is_other = found.is_none_or(|found| found.value != self.value);
        let parameter = is_other.then(|| self.put(name)).flatten();
        let known = found.and_then(|found| found.state.as_ref()?.public_key.as_deref());
        let key = self.key.as_ref().filter(|key| known != Some(key.public()));
        let key = key.map(|key| Request {
            verb: Verb::Put,
            path: format!("/api/zeromq/keys/{}/{}", escaped(&name.vhost), escaped(&name.name)),
            body: Some(json!({ "secret_key": key.secret() })),
        });
        parameter.into_iter().chain(key).collect()
    }

    fn delete(name: &Name) -> Option<Request> {
        Some(Request {
            verb: Verb::Delete,
            path: path(name),
            body: None,
        })
    }
}

impl ZeroMqSocketDefinition {
    /// Users that are named by their resources.
    pub fn referred(&self) -> impl Iterator<Item = &String> {
        self.references.values()
    }

    /// Puts names in place of resources.
    pub fn name_users(&mut self, names: &BTreeMap<String, String>) {
        let references = std::mem::take(&mut self.references);
        let mut clients = self.value.get(CLIENTS).unwrap_or_else(|| json!({}));
        for (actor, resource) in references {
            let Some(name) = names.get(&resource) else { continue };
            match (actor, clients.as_object_mut()) {
                (Actor::Client(key), Some(clients)) => drop(clients.insert(key, json!(name))),
                (Actor::Client(_), None) => {}
                (Actor::All, _) => self.value.insert(USER, &json!(name)),
            }
        }
        if clients.as_object().is_some_and(|clients| !clients.is_empty()) {
            self.value.insert(CLIENTS, &clients);
        }
    }

    /// Users as whom clients act.
    fn acts(&self) -> BTreeSet<String> {
        let clients = self.value.get(CLIENTS);
        let clients = clients.iter().filter_map(Value::as_object).flat_map(Map::values);
        let clients = clients.filter_map(Value::as_str).map(str::to_owned);
        self.text(USER).into_iter().chain(clients).collect()
    }

    /// Its clients need the key of the broker.
    pub fn is_curve(&self) -> bool {
        self.text(MECHANISM).as_deref() == Some(Mechanism::Curve.as_str())
    }

    /// The broker says that it listens.
    pub fn is_open(&self) -> bool {
        self.state
            .as_ref()
            .is_some_and(|state| state.address.is_some() && state.error.is_none())
    }

    /// The address at which it is to listen, in the broker's words.
    pub fn place(&self) -> String {
        self.text(LISTEN).unwrap_or_default()
    }

    fn text(&self, field: &str) -> Option<String> {
        match self.value.get(field)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// A value without what is so when nothing is said, in the words that the broker prefers.
fn told(value: Map<String, Value>) -> Arguments {
    let named = value.into_iter().map(|(field, given)| (field.replace('_', "-"), given));
    let value = Arguments::from(named.collect::<BTreeMap<_, _>>());
    let preferred = |field: &str, given: Value| match (field, given.as_str()) {
        (TYPE, Some("sub")) => json!("xsub"),
        (TYPE, Some("pub")) => json!("xpub"),
        _ => given,
    };
    let usual_prefetch = if value.get(TYPE) == Some(json!("dealer")) { 1 } else { 0 };
    let is_usual = |field: &str, given: &Value| match field {
        MECHANISM => *given == Mechanism::Null.as_str(),
        ANYWHERE | DURABLE | ERRORS => *given == false,
        HWM => *given == 1000,
        PREFETCH => *given == usual_prefetch,
        MAX_FRAMES => *given == 64,
        HEARTBEAT => *given == 0,
        ROUTING_KEY => *given == "",
        CLIENTS => given.as_object().is_some_and(Map::is_empty),
        _ => false,
    };
    let said = value
        .iter()
        .filter(|(field, given)| !given.is_null() && !is_usual(field, given))
        .map(|(field, given)| (field.to_owned(), preferred(field, given)));
    said.collect::<BTreeMap<_, _>>().into()
}

/// Users by public keys of clients, and resources of those who are only referred to.
type Clients = (Map<String, Value>, BTreeMap<Actor, String>);

/// The clients of a socket with their users, where those are named; and those that are only referred to.
fn clients(curve: Option<&Curve>) -> Result<Clients, String> {
    let (mut named, mut referred) = (Map::new(), BTreeMap::new());
    for CurveClient {
        public_key,
        user_ref,
        user,
    } in curve.into_iter().flat_map(|curve| &curve.clients)
    {
        let is_known = |named: &Map<String, Value>, referred: &BTreeMap<Actor, String>| {
            named.contains_key(public_key) || referred.contains_key(&Actor::Client(public_key.clone()))
        };
        if is_known(&named, &referred) {
            return Err(format!("two clients with public key {public_key}"));
        }
        match (user, user_ref) {
            (Some(user), None) => drop(named.insert(public_key.clone(), json!(user))),
            (None, Some(user)) => drop(referred.insert(Actor::Client(public_key.clone()), user.name.clone())),
            _ => return Err(format!("client {public_key} must have exactly one of user and userRef")),
        }
    }
    Ok((named, referred))
}

/// The mechanism as a spec names it; what is unknown stays as it is, and is refused.
fn mechanism(value: &Value) -> Value {
    let mut known = [Mechanism::Null, Mechanism::Plain, Mechanism::Curve].into_iter();
    let known = known.find(|mechanism| *value == mechanism.as_str());
    known.map_or_else(|| value.clone(), |mechanism| json!(mechanism))
}

fn millis(field: &str, period: Option<&Period>) -> Result<Option<i64>, String> {
    let millis = period.map(Period::millis).transpose();
    millis.map_err(|error| format!("{field}: {error}"))
}

fn seconds(field: &str, period: Option<&Period>) -> Result<Option<i64>, String> {
    match millis(field, period)? {
        Some(millis) if millis % 1000 != 0 => Err(format!("{field} is in whole seconds, not {millis}ms")),
        millis => Ok(millis.map(|millis| millis / 1000)),
    }
}

fn path(name: &Name) -> String {
    format!(
        "/api/parameters/{COMPONENT}/{}/{}",
        escaped(&name.vhost),
        escaped(&name.name)
    )
}

#[cfg(test)]
mod tests;
