//! A plan against the Brokers of a kube context.
//!
//! In: the context. Out: what would change on all its brokers that the folder leads to.
//! Does not know about how a change is found.

use std::collections::BTreeSet;

use kube::config::KubeConfigOptions;
use kube::{Client, Config};

use super::after::applied;
use super::args::{Error, PlanArgs};
use super::changes::{Change, Changes, Line, brokers_of, changes};
use crate::command::lint;
use crate::command::live::{Live, look};
use crate::object::{ObjectKey, Snapshot};
use crate::resource::{BrokerSpec, Engine};
use crate::source::folder::read::{Manifests, read_once};
use crate::source::kubernetes::snapshot::{connection, snapshot};
use crate::sync::desired::broker_keys;

pub(super) async fn run(args: &PlanArgs, context: &str) -> Result<Changes, Error> {
    let failed = |why: String| Error::Cluster {
        context: context.to_owned(),
        why,
    };
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_kubeconfig(&options)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let namespace = args.namespace.as_deref().unwrap_or(&config.default_namespace);
    let manifests = read_once(&args.folder, Some(namespace)).map_err(Error::Manifests)?;
    let client = Client::try_from(config.clone()).map_err(|error| failed(error.to_string()))?;
    let namespaces: BTreeSet<String> = manifests.objects.keys().map(|key| key.namespace.clone()).collect();
    let brokers = broker_keys(&lint::snapshot(&manifests));
    let before = snapshot(&client, &namespaces, &brokers)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let mut asked: BTreeSet<ObjectKey> = manifests.objects.keys().cloned().collect();
    let mut after = applied(before.clone(), &manifests);
    if args.prune {
        asked.extend(prune(&mut after, &manifests, &namespaces));
    }
    let mut all = brokers_that_change(&before, &manifests);
    for key in brokers_of(&after, &asked) {
        let live = see(args, &client, &before, &after, &key).await?;
        let part = changes(&after, &key, &live, &asked);
        all.lines.extend(part.lines);
        all.same += part.same;
    }
    Ok(all)
}

/// The objects on a broker. On one that does not exist, or will only be started, there are none.
async fn see(
    args: &PlanArgs,
    client: &Client,
    before: &Snapshot,
    after: &Snapshot,
    key: &ObjectKey,
) -> Result<Live, Error> {
    let Some(broker) = after.get::<BrokerSpec>(key) else {
        return Ok(Live::default());
    };
    if broker.spec.engine == Engine::Leveret && !before.contains(key) {
        return Ok(Live::default());
    }
    let mut connection = connection(client, broker)
        .await
        .map_err(|error| Error::Connection(key.clone(), error))?;
    args.live.replace(&mut connection)?;
    Ok(look(&connection).await?)
}

fn brokers_that_change(before: &Snapshot, manifests: &Manifests) -> Changes {
    let after = lint::snapshot(manifests);
    let mut changes = Changes::default();
    for broker in after.iter::<BrokerSpec>() {
        let key = &broker.meta.key;
        let (change, text) = match before.get::<BrokerSpec>(key) {
            Some(old) if old.spec == broker.spec => {
                changes.same += 1;
                continue;
            }
            Some(_) => (Change::Update, "its spec changes"),
            None if broker.spec.engine == Engine::Leveret => (Change::Create, "the operator starts it"),
            None => (Change::Create, "the operator connects to it"),
        };
        changes.lines.push(Line {
            change,
            key: key.clone(),
            text: text.to_owned(),
        });
    }
    changes
}

/// Marks as being deleted what is in the folder's namespaces and not in the folder.
fn prune(snapshot: &mut Snapshot, manifests: &Manifests, namespaces: &BTreeSet<String>) -> BTreeSet<ObjectKey> {
    let gone: BTreeSet<ObjectKey> = snapshot
        .on_brokers()
        .filter(|key| namespaces.contains(&key.namespace) && !manifests.objects.contains_key(key))
        .cloned()
        .collect();
    for key in &gone {
        if let Some(object) = snapshot.any_mut(key) {
            object.meta_mut().deleting.get_or_insert(0);
        }
    }
    gone
}
