//! Topology from a Git repository, by those who apply it: the engine that Argo CD syncs with, and Flux's
//! kustomize-controller.
//!
//! In: their programs (`tests/cluster/gitops.sh build` and `flux.sh build` make them), a repository of each test, a
//! control plane, the operator and a broker as processes. Out: what commits become on the broker, what the one who
//! applies them says of it, and that nothing is written when nothing has changed. Without a program its tests are
//! skipped with the reason printed. Does not know about the insides of any of them.

/// Argo CD's sync engine: gitops-engine's agent.
mod argo;

/// Flux's kustomize-controller, with the Kustomizations of `examples/gitops/flux`.
mod flux;

/// A Git repository with one branch, and the manifests that go into it.
mod repository;

/// Everything a commit passes through, but for the one who applies it.
mod way;
