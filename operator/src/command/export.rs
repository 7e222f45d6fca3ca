//! `leveret export`: what stands on a broker, as YAML that applies to it without changing anything.
//!
//! In: the topology of a live broker. Out: manifests, and what cannot be one. Does not know about sources or sync.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::live::{FileError, LiveArgs, look};
use super::task::{Run, on_a_runtime, print};
use crate::broker;
use crate::object::Kind;
use crate::resource::admission::admit;
use crate::resource::{GROUP, VERSION};
use crate::topology::{
    Arguments, BindingDefinition, End, ExchangeDefinition, Identity, Name, QueueDefinition, Topology,
};

#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Name of the Broker that the manifests refer to
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub broker: String,

    /// Namespace that is written into the manifests; default: none
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Only this virtual host; may be given several times
    #[arg(long, value_name = "NAME")]
    pub vhost: Vec<String>,

    #[command(flatten)]
    pub live: LiveArgs,
}

impl Run for ExportArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        let export = on_a_runtime(run(&self))??;
        for line in &export.left_out {
            eprintln!("leveret: left out: {line}");
        }
        print(&export.yaml()?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A broker cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Broker(#[from] broker::Error),
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
}

/// Manifests of a broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    pub manifests: Vec<Value>,
    /// Objects without a manifest: a line for each, with the reason.
    pub left_out: Vec<String>,
}

impl Export {
    /// A stream of YAML documents.
    ///
    /// # Errors
    /// None in practice: the manifests are plain JSON.
    pub fn yaml(&self) -> Result<String, serde_yaml::Error> {
        let documents = self.manifests.iter().map(|manifest| {
            let text = serde_yaml::to_string(manifest)?;
            Ok(format!("---\n{text}"))
        });
        documents.collect()
    }
}

/// Looks at the broker and writes down what it has.
///
/// # Errors
/// See [`Error`].
pub async fn run(args: &ExportArgs) -> Result<Export, Error> {
    let live = look(&args.live.connection()?).await?;
    Ok(export(&live.topology, args))
}

/// Exclusive queues go with their connection and names with `amq.` are the broker's own: neither is exported, nor are
/// bindings to such queues.
pub fn export(topology: &Topology, args: &ExportArgs) -> Export {
    let mut writer = Writer {
        args,
        names: BTreeSet::new(),
        export: Export::default(),
    };
    let wanted = |vhost: &String| args.vhost.is_empty() || args.vhost.contains(vhost);
    let kept = |name: &&Name| wanted(&name.vhost) && !name.is_reserved();
    for (name, exchange) in topology.exchanges.iter().filter(|(name, _)| kept(name)) {
        let what = Identity::Exchange(name.clone());
        writer.put(Kind::Exchange, &what, &name.vhost, &name.name, exchange_spec(exchange));
    }
    for (name, queue) in topology.queues.iter().filter(|(name, _)| kept(name)) {
        if !queue.exclusive {
            let what = Identity::Queue(name.clone());
            writer.put(Kind::Queue, &what, &name.vhost, &name.name, queue_spec(queue));
        }
    }
    for binding in topology.bindings.iter().filter(|binding| wanted(&binding.vhost)) {
        let destination = binding.destination_name();
        let fleeting = binding.end == End::Queue
            && (destination.is_reserved() || topology.queues.get(&destination).is_none_or(|queue| queue.exclusive));
        if !fleeting {
            let what = Identity::Binding(binding.clone());
            let name = format!("{}-to-{}", binding.source, binding.destination);
            writer.put(Kind::Binding, &what, &binding.vhost, &name, binding_spec(binding));
        }
    }
    writer.export
}

struct Writer<'a> {
    args: &'a ExportArgs,
    names: BTreeSet<(Kind, String)>,
    export: Export,
}

impl Writer<'_> {
    fn put(&mut self, kind: Kind, what: &Identity, vhost: &str, name: &str, mut spec: Map<String, Value>) {
        let metadata_name = self.metadata_name(kind, what, vhost, name);
        if kind != Kind::Binding && metadata_name != name {
            spec.insert("name".to_owned(), json!(name));
        }
        if vhost != "/" {
            spec.insert("vhost".to_owned(), json!(vhost));
        }
        spec.insert("brokerRef".to_owned(), json!({ "name": self.args.broker }));
        let mut metadata = json!({ "name": metadata_name });
        if let (Some(namespace), Some(map)) = (&self.args.namespace, metadata.as_object_mut()) {
            map.insert("namespace".to_owned(), json!(namespace));
        }
        let manifest = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": kind.as_str(),
            "metadata": metadata,
            "spec": spec,
        });
        match admit(&manifest) {
            Ok(_) => self.export.manifests.push(manifest),
            Err(refusals) => {
                let reasons: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                let what = crate::sync::desired::describe(what);
                self.export.left_out.push(format!("{what}: {}", reasons.join("; ")));
            }
        }
    }

    /// The name on the broker where Kubernetes allows it; otherwise something like it that stays the same every time.
    fn metadata_name(&mut self, kind: Kind, what: &Identity, vhost: &str, name: &str) -> String {
        /// Kubernetes allows 253; a name must also fit on a line.
        const MOST: usize = 100;
        let slug: String = name
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .take(MOST)
            .collect();
        let slug = slug
            .split('.')
            .map(|label| label.trim_matches('-'))
            .filter(|label| !label.is_empty())
            .collect::<Vec<_>>()
            .join(".");
        let exact = slug == name && vhost == "/" && kind != Kind::Binding;
        let mut candidate = match (exact, slug.is_empty()) {
            (true, _) => slug.clone(),
            (false, true) => format!("{:08x}", hash(&format!("{what:?}"))),
            (false, false) => format!("{slug}-{:08x}", hash(&format!("{what:?}"))),
        };
        while !self.names.insert((kind, candidate.clone())) {
            candidate = format!("{slug}-{:08x}", hash(&format!("{what:?}{candidate}")));
        }
        candidate
    }
}

/// FNV-1a, 32 bits: the same on every machine and in every version.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

fn exchange_spec(exchange: &ExchangeDefinition) -> Map<String, Value> {
    let mut spec = Map::new();
    let mut arguments = exchange.arguments.clone();
    if exchange.kind != "direct" {
        spec.insert("type".to_owned(), json!(exchange.kind));
    }
    flags(&mut spec, exchange.durable, exchange.auto_delete);
    if exchange.internal {
        spec.insert("internal".to_owned(), json!(true));
    }
    if let Some(Value::String(alternate)) = arguments.get("alternate-exchange").filter(|value| *value != "") {
        arguments.remove("alternate-exchange");
        spec.insert("alternateExchange".to_owned(), json!(alternate));
    }
    rest(&mut spec, &arguments);
    spec
}

/// Arguments that have a field of their own with the same value.
const PLAIN: [(&str, &str); 6] = [
    ("x-max-length", "maxLength"),
    ("x-max-length-bytes", "maxLengthBytes"),
    ("x-overflow", "overflow"),
    ("x-max-priority", "maxPriority"),
    ("x-delivery-limit", "deliveryLimit"),
    ("x-single-active-consumer", "singleActiveConsumer"),
];
/// Arguments in milliseconds that have a field with a unit.
const PERIODS: [(&str, &str); 3] = [
    ("x-message-ttl", "messageTtl"),
    ("x-expires", "expires"),
    ("x-consumer-timeout", "consumerTimeout"),
];

fn queue_spec(queue: &QueueDefinition) -> Map<String, Value> {
    let mut spec = Map::new();
    let mut arguments = queue.arguments().clone();
    flags(&mut spec, queue.durable, queue.auto_delete);
    if let Some(Value::String(kind)) = arguments.get("x-queue-type") {
        arguments.remove("x-queue-type");
        spec.insert("type".to_owned(), json!(kind));
    }
    for (argument, field) in PLAIN {
        if let Some(value) = arguments.get(argument).filter(|value| !value.is_null()) {
            arguments.remove(argument);
            spec.insert(field.to_owned(), value);
        }
    }
    for (argument, field) in PERIODS {
        if let Some(millis) = arguments.get(argument).and_then(|value| value.as_u64()) {
            arguments.remove(argument);
            spec.insert(field.to_owned(), json!(period(millis)));
        }
    }
    if let Some(Value::String(exchange)) = arguments.get("x-dead-letter-exchange") {
        let mut dead = json!({ "exchange": exchange });
        arguments.remove("x-dead-letter-exchange");
        if let (Some(Value::String(key)), Some(dead)) =
            (arguments.get("x-dead-letter-routing-key"), dead.as_object_mut())
        {
            arguments.remove("x-dead-letter-routing-key");
            dead.insert("routingKey".to_owned(), json!(key));
        }
        spec.insert("deadLetter".to_owned(), dead);
    }
    rest(&mut spec, &arguments);
    spec
}

fn binding_spec(binding: &BindingDefinition) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert("source".to_owned(), json!(binding.source));
    spec.insert(
        "destination".to_owned(),
        json!({ binding.end.as_str(): binding.destination }),
    );
    if !binding.routing_key.is_empty() {
        spec.insert("routingKey".to_owned(), json!(binding.routing_key));
    }
    rest(&mut spec, &binding.arguments);
    spec
}

fn flags(spec: &mut Map<String, Value>, durable: bool, auto_delete: bool) {
    if !durable {
        spec.insert("durable".to_owned(), json!(false));
    }
    if auto_delete {
        spec.insert("autoDelete".to_owned(), json!(true));
    }
}

fn rest(spec: &mut Map<String, Value>, arguments: &Arguments) {
    if !arguments.is_empty() {
        let map: Map<String, Value> = arguments.iter().map(|(name, value)| (name.to_owned(), value)).collect();
        spec.insert("arguments".to_owned(), Value::Object(map));
    }
}

/// The largest unit that holds it exactly.
fn period(millis: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fitting = units
        .into_iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    fitting.map_or_else(
        || format!("{millis}ms"),
        |(unit, name)| format!("{}{name}", millis / unit),
    )
}

#[cfg(test)]
mod tests;
