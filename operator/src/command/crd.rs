//! `leveret-operator crd`: the custom resource definitions of this version, printed, written to files, or applied.
//!
//! In: the definitions. Out: YAML, or a cluster that serves them. Does not know about what they define.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::api_server::{self, client, request};
use super::task::{Run, once};
use crate::resource::schema::one_yaml;
use crate::resource::{crd_yaml, crds};

/// Helm installs the definitions under this name; under another one a later `helm install` would meet a conflict.
const MANAGER: &str = "helm";
/// Longest time for the API server to serve a new definition.
const ESTABLISHED: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Args)]
pub struct CrdArgs {
    /// Write them to this folder instead, one file per kind
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Apply them to the cluster ($KUBECONFIG, or the pod's service account) instead, as an upgrade needs
    #[arg(long, conflicts_with = "output")]
    apply: bool,
}

/// The definitions cannot be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] api_server::Error),
    #[error("{what} is not established after {} s", ESTABLISHED.as_secs())]
    NotEstablished { what: String },
}

impl Run for CrdArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        match &self.output {
            _ if self.apply => once(apply())??,
            Some(folder) => write(folder)?,
            None => print!("{}", crd_yaml()?),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write(folder: &Path) -> anyhow::Result<()> {
    for crd in crds() {
        let path = folder.join(format!("{}.yaml", crd.spec.names.plural));
        std::fs::write(&path, one_yaml(&crd)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Applies the definitions of this version (server-side apply) and waits until the API server serves them.
///
/// # Errors
/// No cluster, a refusal of the API server, or a definition that is not established in time.
async fn apply() -> Result<(), Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client().await?);
    for crd in crds() {
        let name = crd.name_any();
        let parameters = PatchParams::apply(MANAGER).force();
        api.patch(&name, &parameters, &Patch::Apply(&crd))
            .await
            .map_err(request(&name))?;
        let deadline = Instant::now() + ESTABLISHED;
        while !established(&api.get(&name).await.map_err(request(&name))?) {
            if Instant::now() >= deadline {
                return Err(Error::NotEstablished { what: name });
            }
            sleep(Duration::from_millis(200)).await;
        }
        info!(crd = name, "applied");
    }
    Ok(())
}

fn established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}
