#!/bin/bash
# csi.sh   build what lets a volume grow on a node, and print the folder that holds it: `driver` (csi/main.go) and
# `csi-resizer` of kubernetes-csi, from the Go proxy (about 5 CPU-minutes, once). Kept outside the clone in
# ${LEVERET_TEST_CACHE:-~/.cache/leveret-test}/csi-HASH, keyed by the sources.
# csi.sh start STATE   build, and run both on the node whose folder is STATE (up.sh node); they end with it. Volumes are the
# files in STATE/node/volumes.
set -euo pipefail
# shellcheck source=cache.sh
. "$(dirname "$0")/cache.sh"
here=$(cd "$(dirname "$0")" && pwd)
resizer=v2.3.0
with_go csi.sh
key=$( (cat "$here"/csi/{main.go,go.mod,go.sum}; echo "$resizer") | sha256sum | cut -c1-16)
in_cache "csi-$key"
alone
if [ ! -x "$out/driver" ] || [ ! -x "$out/csi-resizer" ]; then
  echo "building csi-resizer $resizer and a driver into $out (once; minutes)" >&2
  GOBIN=$out go install -trimpath -ldflags="-s -w" "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer@$resizer" >&2 9>&-
  (cd "$here/csi" && go build -trimpath -ldflags="-s -w" -o "$out/driver" . >&2 9>&-)
fi
if [ "${1:-}" = start ]; then
  state=$2
  node=(nsenter -t "$(cat "$state/pid/init")" -m -p -n)
  socket=/var/lib/kubelet/plugins/tmpfs.leveret.dev/csi.sock
  mkdir -p "$state/node/volumes"
  setsid "${node[@]}" "$out/driver" $socket /var/lib/kubelet/plugins_registry/tmpfs.leveret.dev.sock "$state/node/volumes" node-1 \
    >"$state/log/csi-driver.log" 2>&1 </dev/null 9>&- &
  # The resizer waits for the driver by itself.
  setsid "${node[@]}" "$out/csi-resizer" --csi-address=$socket --kubeconfig="$state/admin.conf" \
    >"$state/log/csi-resizer.log" 2>&1 </dev/null 9>&- &
fi
echo "$out"
