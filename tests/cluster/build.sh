#!/bin/bash
# build.sh [cp|node]   build the Go programs of the test cluster and print the folder that holds them.
#   cp    kcp: etcd, kube-apiserver, kube-controller-manager, kubectl (and the node's programs) in one binary
#   node  the above and coredns
# Cold it costs about 14 CPU-minutes, so the result is kept outside the clone, keyed by a hash of its sources:
#   ${LEVERET_TEST_CACHE:-~/.cache/leveret-test}/cluster-HASH
# Keep the flags identical between builds: -trimpath and CGO_ENABLED are part of every cache key of the Go
# tool chain (changing one rebuilds all 2,800 packages); -ldflags only relinks.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mode=${1:-cp}
V=v1.36.3
X=k8s.io/component-base/version C=k8s.io/client-go/pkg/version
LD="-s -w -X $X.gitVersion=$V -X $X.gitMajor=1 -X $X.gitMinor=36 -X $X.gitCommit=$V -X $X.gitTreeState=clean -X $X.buildDate=2026-01-01T00:00:00Z -X $C.gitVersion=$V -X $C.gitMajor=1 -X $C.gitMinor=36"
export CGO_ENABLED=0 GOTOOLCHAIN=local
command -v go >/dev/null || { echo "build.sh: no go in PATH; install Go 1.26 or later, or set LEVERET_TEST_KUBECONFIG to use a cluster of your own" >&2; exit 1; }
key=$( (cd "$here" && cat {kcp,coredns}/{main.go,go.mod,go.sum}; echo "$LD"; go env GOVERSION GOARCH) | sha256sum | cut -c1-16)
out=${LEVERET_TEST_CACHE:-$HOME/.cache/leveret-test}/cluster-$key
# What is there is whole (it is moved into place), whoever may be building the rest.
if [ -x "$out/kcp" ] && { [ "$mode" = cp ] || [ -x "$out/coredns" ]; }; then echo "$out"; exit; fi
mkdir -p "$out"
exec 9>"$out/.lock"
flock -n 9 || { echo "build.sh: waiting for another build in $out" >&2; flock 9; }
build() { # module
  [ -x "$out/$1" ] && return
  echo "building $1 into $out (once; minutes)" >&2
  (cd "$here/$1" && go build -trimpath -ldflags="$LD" -o "$out/$1.tmp" . >&2 9>&-) && mv "$out/$1.tmp" "$out/$1"
}
build kcp
[ "$mode" = node ] && build coredns
echo "$out"
