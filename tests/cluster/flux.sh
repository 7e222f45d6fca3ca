#!/bin/bash
# flux.sh [build]   print the folder with Flux's kustomize-controller, which applies, watches and prunes what a Kustomization
# names, and with the CRDs it needs: FOLDER/kustomize-controller, FOLDER/crds. With `build` it is built from the Go proxy
# where it is not there yet (about 7 CPU-minutes, once); without, a missing one is an error. Kept outside the clone in
# ${LEVERET_TEST_CACHE:-~/.cache/leveret-test}/flux-VERSION.
set -euo pipefail
# shellcheck source=cache.sh
. "$(dirname "$0")/cache.sh"
# The newest version whose dependencies the public Go proxy has, and that Go 1.26 builds.
version=v1.9.5
# Only for the CRDs of sources, which the controller watches: what fetches from Git is not part of the test.
source_version=v1.9.5
in_cache "flux-$version"
must_have kustomize-controller flux.sh "${1:-}"
alone
if [ ! -x "$out/kustomize-controller" ]; then
  with_go flux.sh
  echo "building kustomize-controller $version into $out (once; minutes)" >&2
  controller=$(unpacked "github.com/fluxcd/kustomize-controller@$version")
  sources=$(unpacked "github.com/fluxcd/source-controller@$source_version")
  copied "$controller"
  # One of its replace lines leads into its repository, to a module that the copy has not.
  (cd "$source" && go mod edit -dropreplace github.com/fluxcd/kustomize-controller/api &&
    go build -trimpath -ldflags="-s -w" -o "$out/kustomize-controller.tmp" . >&2 9>&-)
  mkdir -p "$out/crds"
  install -m 644 "$controller"/config/crd/bases/*.yaml "$sources"/config/crd/bases/*.yaml "$out/crds/"
  mv "$out/kustomize-controller.tmp" "$out/kustomize-controller"
fi
echo "$out"
