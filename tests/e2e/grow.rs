//! A volume that grows under a running broker.
//!
//! In: a node with a CSI driver that lets volumes grow (`make grow`). Out: the claim, the volume and the Broker say so,
//! and the pod is the same. Without the driver this is skipped with the reason printed.
//! Does not know how the driver does it.

use std::fs::File;
use std::time::{Duration, Instant};

use harness::wait::eventually;
use serde_json::json;

use crate::node::{NAMESPACE, Node, SOON, node};

const GIB: u64 = 1 << 30;

/// A volume of the driver, and its class.
fn volume(node: &Node, name: &str) {
    let size = File::create(node.state().join("node/volumes").join(name)).and_then(|file| file.set_len(GIB));
    size.expect("a file on the node");
    let driver = "tmpfs.leveret.dev";
    let known = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": driver},
        "spec": {"attachRequired": false, "fsGroupPolicy": "File"}});
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "grows"},
        "provisioner": driver, "allowVolumeExpansion": true, "volumeBindingMode": "WaitForFirstConsumer"});
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "grows",
            "csi": {"driver": driver, "volumeHandle": name}}});
    node.tools.apply("", &[known, class, volume], &[]);
}

/// The free disk space in the Broker's status, in MiB: at most 30 s old.
fn free(node: &Node) -> u64 {
    let text = node.kubectl(&[
        "get",
        "brokers.leveret.dev",
        "main",
        "-o",
        "jsonpath={.status.diskFree}",
    ]);
    text.strip_suffix("Mi").and_then(|mib| mib.parse().ok()).unwrap_or(0)
}

fn free_becomes(node: &Node, what: &str, is: impl Fn(u64) -> bool) {
    eventually(what, SOON, || {
        let now = free(node);
        if is(now) { Ok(()) } else { Err(now) }
    });
}

#[test]
fn a_volume_grows_under_a_running_broker() {
    let Some(node) = node() else { return };
    volume(&node, "growing");
    node.helm("install", &["--set", "broker.spec.storage.storageClassName=grows"]);
    node.wait("brokers.leveret.dev/main");
    free_becomes(&node, "nearly a gibibyte is free", |mib| (512..1024).contains(&mib));
    let before = node.pod_uid();

    let start = Instant::now();
    let patch = r#"{"spec":{"storage":{"size":"2Gi"}}}"#;
    node.kubectl(&["patch", "brokers.leveret.dev", "main", "--type=merge", "-p", patch]);
    let capacity = "--for=jsonpath={.status.capacity.storage}=2Gi";
    node.kubectl(&["wait", "persistentvolumeclaim/data-main-0", capacity, "--timeout=90s"]);
    println!("the volume has grown after {:.1?}", start.elapsed());
    free_becomes(&node, "nearly two are free", |mib| mib > 1536);
    println!("the Broker says so after {:.1?}", start.elapsed());

    // The pod is replaced for nothing of this, also not a little later.
    std::thread::sleep(Duration::from_secs(5));
    node.wait("brokers.leveret.dev/main");
    assert_eq!(node.pod_uid(), before);
    let restarts = [
        "get",
        "pod",
        "main-0",
        "-o",
        "jsonpath={.status.containerStatuses[0].restartCount}",
    ];
    assert_eq!(node.kubectl(&restarts), "0");
    let release = ["uninstall", "leveret", "-n", NAMESPACE, "--wait", "--timeout", "3m"];
    node.tools.helm_well(&release);
}
