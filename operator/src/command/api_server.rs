//! The cluster, for commands that ask it once.
//!
//! In: $KUBECONFIG, or the pod's service account. Out: a client. Does not know about what is asked.

use kube::Client;

/// The cluster cannot be asked, or refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("no cluster is configured: {0}")]
    NoCluster(String),
    #[error("{what}: {why}")]
    Request { what: String, why: kube::Error },
}

/// The error of a request about `what`.
pub(super) fn request(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let what = what.into();
    move |why| Error::Request { what, why }
}

/// A client for the configured cluster.
///
/// # Errors
/// None is configured.
pub(super) async fn client() -> Result<Client, Error> {
    Client::try_default()
        .await
        .map_err(|error| Error::NoCluster(error.to_string()))
}
