#!/bin/bash
# gitops.sh [build]   print the path of Argo CD's sync engine as a program of its own: gitops-engine's agent, which applies
# a folder of a Git repository to a cluster and prunes. With `build` it is built from the Go proxy where it is not there yet
# (about 3 CPU-minutes, once); without, a missing one is an error. Kept outside the clone in
# ${LEVERET_TEST_CACHE:-~/.cache/leveret-test}/gitops-VERSION.
set -euo pipefail
# shellcheck source=cache.sh
. "$(dirname "$0")/cache.sh"
module=github.com/argoproj/argo-cd/gitops-engine
version=v0.0.0-20260914071520-c9c369efcc5b
in_cache "gitops-$version"
must_have gitops gitops.sh "${1:-}"
alone
if [ ! -x "$out/gitops" ]; then
  with_go gitops.sh
  echo "building $module $version into $out (once; minutes)" >&2
  copied "$(unpacked "$module@$version")"
  (cd "$source" && go build -trimpath -ldflags="-s -w" -o "$out/gitops.tmp" ./agent >&2 9>&-)
  mv "$out/gitops.tmp" "$out/gitops"
fi
echo "$out/gitops"
