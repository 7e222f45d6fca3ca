//! `leveret export`: what stands on a broker, as YAML that applies to it without changing anything.
//!
//! In: the topology of a live broker. Out: manifests, and what cannot be one. Does not know about sources or sync.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::live::{FileError, LiveArgs, look};
use super::manifest::{self, Names, manifest};
use super::task::{Run, on_a_runtime, print};
use crate::broker;
use crate::object::Kind;
use crate::resource::admission::admit;
use crate::resource::yaml;
use crate::topology::user::SERVICE_ACCOUNT;
use crate::topology::{Declared, Named, Target, Topology};

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

    /// Write down the hashes of users' passwords, too; whoever has them can try passwords against them
    #[arg(long)]
    pub password_hashes: bool,

    #[command(flatten)]
    pub live: LiveArgs,
}

impl Run for ExportArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        let export = on_a_runtime(run(&self))??;
        for line in &export.left_out {
            eprintln!("leveret: left out: {line}");
        }
        print(&export.yaml())?;
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
}

/// Manifests of a broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    pub manifests: Vec<Value>,
    /// Objects without a manifest: a line for each, with the reason.
    pub left_out: Vec<String>,
}

impl Export {
    /// A stream of YAML documents, the same to every reader.
    pub fn yaml(&self) -> String {
        self.manifests.iter().map(yaml::document).collect()
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
/// bindings to such queues, nor the user who exports.
pub fn export(topology: &Topology, args: &ExportArgs) -> Export {
    let mut writer = Writer {
        args,
        names: Names::default(),
        export: Export::default(),
    };
    let wanted = |vhost: &str| args.vhost.is_empty() || args.vhost.iter().any(|name| name == vhost);
    for object in topology.each().filter(|object| places(object).into_iter().any(wanted)) {
        let fleeting = match &object {
            Declared::User(user) if user.name.name == args.live.user() => {
                let line = format!("{}: it is the one that exports", object.identity());
                writer.export.left_out.push(line);
                true
            }
            Declared::Queue(queue) => queue.definition.exclusive,
            Declared::Binding(binding) => is_fleeting(topology, &binding.to()),
            _ => false,
        };
        if !fleeting && !object.identity().is_reserved() {
            writer.put(&object);
        }
    }
    writer.export
}

/// The virtual hosts that an object stands in, or is, or has permissions in.
fn places(object: &Declared) -> Vec<&str> {
    match object {
        Declared::Vhost(vhost) => vec![&vhost.name.name],
        Declared::User(user) if user.definition.permissions.is_empty() => vec![""],
        Declared::User(user) => user.definition.permissions.keys().map(String::as_str).collect(),
        other => vec![other.vhost()],
    }
}

/// True when the end of a binding is a queue that goes with its connection, or was made by the broker.
fn is_fleeting(topology: &Topology, end: &Target) -> bool {
    end.kind == Kind::Queue
        && (end.name.is_reserved() || topology.queues.get(&end.name).is_none_or(|queue| queue.exclusive))
}

struct Writer<'a> {
    args: &'a ExportArgs,
    names: Names,
    export: Export,
}

impl Writer<'_> {
    fn put(&mut self, object: &Declared) {
        let namespace = self.args.namespace.as_deref();
        let name = self.names.give(namespace.unwrap_or_default(), object);
        let mut spec = manifest::spec(object, &name, &json!({ "name": self.args.broker }));
        if let Declared::User(Named { name, definition }) = object
            && let Some((field, way)) = definition.way_in(&name.name, self.args.password_hashes)
        {
            if field == SERVICE_ACCOUNT {
                // It is the name.
                spec.remove("name");
            }
            spec.insert(field.to_owned(), way);
        }
        if let Declared::ZeroMqSocket(socket) = object
            && socket.definition.is_curve()
        {
            let line = format!(
                "the secret key of {}: what is applied gets a new one, unless curve.secretRef names a Secret that has it",
                object.identity()
            );
            self.export.left_out.push(line);
        }
        let mut metadata = json!({ "name": name });
        if let (Some(namespace), Some(map)) = (namespace, metadata.as_object_mut()) {
            map.insert("namespace".to_owned(), json!(namespace));
        }
        let manifest = manifest(object.kind(), metadata, spec);
        match admit(&manifest) {
            Ok(_) => self.export.manifests.push(manifest),
            Err(refusals) => {
                let reasons: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                self.export
                    .left_out
                    .push(format!("{}: {}", object.identity(), reasons.join("; ")));
            }
        }
    }
}

#[cfg(test)]
mod tests;
