#!/bin/bash
# dist.sh [FOLDER]   the files of a release, into FOLDER (default dist/): the chart's package, install.yaml (no Helm
# needed), crds.yaml, the static programs, the image, the bill of materials, and SHA256SUMS of them all.
# The same sources give the same bytes, but for the chart's package, whose form Helm decides.
# env:  IMAGE and others as for image.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${1:-dist}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
helm=$(.ci/release/helm.sh)
rm -rf "$out"; mkdir -p "$out"

step() { echo "--- $*" >&2; }
step "programs and image"
.ci/release/image.sh "$out/leveret-$version-image.tar"
folder=$(.ci/release/binaries.sh 2>/dev/null)
target=$(basename "$(dirname "$folder")")
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$folder" -cf - leveret leveret-broker leveret-operator kubectl-leveret |
  gzip -9n >"$out/leveret-$version-$target.tar.gz"

step "chart and manifests"
"$helm" package charts/leveret --version "$version" --app-version "$version" --destination "$out" >&2
cat crds/*.yaml >"$out/crds.yaml"
# What helm would install into the namespace leveret, definitions first, hooks and tests left out.
{
  printf -- '---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: leveret\n'
  cat crds/*.yaml
  "$helm" template leveret charts/leveret --namespace leveret --no-hooks --skip-tests \
    | sed '/helm.sh\/chart:/d; s/app.kubernetes.io\/managed-by: Helm/app.kubernetes.io\/managed-by: kubectl/'
} >"$out/install.yaml"

step "bill of materials"
LEVERET_TARGET=$target .ci/release/sbom.py >"$out/leveret-$version.cdx.json"
(cd "$out" && sha256sum -- * >SHA256SUMS)
ls -l "$out" >&2
