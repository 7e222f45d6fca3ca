//! The resources of some namespaces as they stand now, without following them.
//!
//! In: a client, and what to look at. Out: a `Snapshot`, and connections of its brokers.
//! Does not know about watches, or what the snapshot is for.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client};
use tokio::sync::watch as channel;

use super::cache::Cache;
use super::secrets::Secrets;
use crate::object::{Connection, ConnectionError, Kind, Object, ObjectKey, Snapshot};
use crate::resource::BrokerSpec;
use crate::source::dereference::{Trust, dereference};

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// The resources in `namespaces`, and `brokers` wherever they are. What does not exist is left out.
///
/// # Errors
/// The words of the API server, or of the way to it.
pub async fn snapshot(
    client: &Client,
    namespaces: &BTreeSet<String>,
    brokers: &BTreeSet<ObjectKey>,
) -> Result<Snapshot, kube::Error> {
    let mut cache = Cache::default();
    for namespace in namespaces {
        for kind in Kind::OWN {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.api_resource());
            let mut page = ListParams::default().limit(PAGE);
            loop {
                let list = match api.list(&page).await {
                    // A kind that is not installed has no objects.
                    Err(kube::Error::Api(status)) if status.code == 404 => break,
                    listed => listed?,
                };
                for object in list.items {
                    take(&mut cache, kind, object);
                }
                match list.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => page = page.continue_token(&token),
                    None => break,
                }
            }
        }
        // Only labels come from it; who may not read namespaces has no selectors that match.
        let api: Api<Namespace> = Api::all(client.clone());
        if let Ok(Some(found)) = api.get_opt(namespace).await {
            cache.namespace(namespace, Some(found.metadata.labels.unwrap_or_default()));
        }
    }
    for key in brokers.iter().filter(|key| !namespaces.contains(&key.namespace)) {
        let resource = Kind::Broker.api_resource();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &resource);
        if let Some(object) = api.get_opt(&key.name).await? {
            take(&mut cache, Kind::Broker, object);
        }
    }
    Ok((*cache.snapshot()).clone())
}

fn take(cache: &mut Cache, kind: Kind, object: DynamicObject) {
    if let Err(unreadable) = cache.observe(kind, object) {
        tracing::warn!("{}: {}", unreadable.key, unreadable.why);
    }
}

/// The connection to a broker, by its Secrets as they stand now.
///
/// # Errors
/// See [`ConnectionError`].
pub async fn connection(client: &Client, broker: &Object<BrokerSpec>) -> Result<Connection, ConnectionError> {
    let secrets = Secrets::new(client.clone(), channel::Sender::new(0));
    dereference(broker, &secrets, Trust::User).await
}
