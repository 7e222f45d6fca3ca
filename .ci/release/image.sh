#!/bin/bash
# image.sh [OUT.tar]   build the image as an OCI archive (default: dist/leveret-image.tar) and print its digest and size.
# No Docker daemon, no registry, no root. The same sources give the same digest.
# env:  IMAGE  its reference (default ghcr.io/leveret/leveret:VERSION);  others as for binaries.sh and oci.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${1:-dist/leveret-image.tar}
VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
case $(uname -m) in x86_64) ARCH=amd64;; aarch64) ARCH=arm64;; *) ARCH=$(uname -m);; esac
export VERSION ARCH=${ARCH}
folder=$(.ci/release/binaries.sh)
mkdir -p "$(dirname "$out")"
.ci/release/oci.py "$out" "${IMAGE:-ghcr.io/leveret/leveret:$VERSION}" "$folder"
