#!/bin/bash
# helm.sh   print the path of helm: the one in PATH if it is of version 4, else one built from the Go proxy
# (about 4 CPU-minutes, once) and kept outside the clone in ${LEVERET_TEST_CACHE:-~/.cache/leveret-test}/helm-VERSION.
set -euo pipefail
# shellcheck source=../../tests/cluster/cache.sh
. "$(dirname "$0")/../../tests/cluster/cache.sh"
version=v4.3.1
if command -v helm >/dev/null && [[ $(helm version --template '{{.Version}}' 2>/dev/null) == v4.* ]]; then
  command -v helm
  exit
fi
in_cache "helm-$version"
alone
if [ ! -x "$out/helm" ]; then
  with_go helm.sh
  echo "building helm $version into $out (once; minutes)" >&2
  export GOBIN=$out/build
  go install -trimpath -ldflags="-s -w -X helm.sh/helm/v4/internal/version.version=$version" "helm.sh/helm/v4/cmd/helm@$version" >&2 9>&-
  mv "$out/build/helm" "$out/helm"
fi
echo "$out/helm"
