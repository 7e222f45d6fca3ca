#!/bin/bash
# run.sh   the way a user meets it, on a real node: builds the image, starts a node with real pods, and runs the test
# `e2e` on it. Needs root (namespaces, containerd) and Debian's packages, which it installs; no Docker, no registry.
# env:  KCP_NAME, KCP_NET  name and network of the node (default e2e, the first free one from 10.213 on);  KEEP=1 leaves it running
#       LEVERET_IMAGE      an archive that image.sh has made already, instead of building one
#       LEVERET_PROGRAMS   a folder of programs (target/debug, say) that an image is made of in seconds, libraries and all
#       LEVERET_GROWS=1    volumes of this node can grow, and only the test of that is run
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
reason=$(tests/e2e/possible.sh) || { echo "run.sh: no node can run here: $reason" >&2; exit 1; }
for second in {213..254}; do
  ip -4 address show to "10.$second.0.0/16" | grep -q . || [ -n "$(ip -4 route show root "10.$second.0.0/16")" ] || break
done
export KCP_NAME=${KCP_NAME:-e2e} KCP_NET=${KCP_NET:-10.$second}
missing=()
for package in containerd runc containernetworking-plugins iptables nftables conntrack ethtool socat busybox-static; do
  dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
work=$(mktemp -d)
archive=$work/image.tar
export KCP_IMAGES=$work/images   # another run may be making its own
finish() {
  rm -rf "$work"
  [ "${KEEP:-}" = 1 ] || KEEP='' tests/cluster/down.sh node
}
trap finish EXIT

# --- the images ---------------------------------------------------------------
# The same files at the same places as in the release's image, but linked dynamically.
quick_image() { # folder
  local files=() library
  strip -o "$work/leveret" "$1/leveret"
  strip -o "$work/leveret-broker" "$1/leveret-broker"
  while read -r library; do files+=("$library:$library"); done \
    < <(ldd "$1/leveret" "$1/leveret-broker" | sed -nE "s@.*[[:space:]](/[^ ]+) \(0x.*@\1@p" | sort -u)
  tests/cluster/mkimage.py "$archive" kcp.local/leveret:quick /leveret-broker -- "${files[@]}" "$work/leveret:/leveret" \
    "$work/leveret-broker:/leveret-broker" '/leveret-operator->leveret' '/usr/bin/leveret-broker->/leveret-broker'
}
started=$SECONDS
if [ -n "${LEVERET_IMAGE:-}" ]; then
  cp "$LEVERET_IMAGE" "$archive"
elif [ -n "${LEVERET_PROGRAMS:-}" ]; then
  quick_image "$LEVERET_PROGRAMS"
else
  .ci/release/image.sh "$archive"
fi
echo "image after $((SECONDS - started)) s"
images=$(tests/cluster/images.sh)
# The client in a pod: a program of this machine with its libraries.
# --workspace: the same features, so that what the tests were built of is used again.
cargo build --quiet --workspace --example e2e-client
cp "${CARGO_TARGET_DIR:-target}/debug/examples/e2e-client" "$work/"
tests/cluster/mkimage.py "$images/e2e-client.tar" kcp.local/e2e-client:1 "$work/e2e-client" -- "+$work/e2e-client"

# --- the node, and the test on it -----------------------------------------------
LEVERET_TEST_KUBECONFIG=$(tests/cluster/up.sh node)
state=$(dirname "$LEVERET_TEST_KUBECONFIG")
node=(nsenter -t "$(cat "$state/pid/init")" -m -p)
# Its name is that of the release; the test's are others, so that nothing can come from a registry.
name=$("${node[@]}" ctr -n k8s.io images import "$(realpath "$archive")" | sed -n 's/^unpacking \([^ ]*\) .*/\1/p')
for tag in e2e e2e-next; do "${node[@]}" ctr -n k8s.io images tag --force "$name" "kcp.local/leveret:$tag"; done
kcp=$(tests/cluster/build.sh node)
mkdir -p "$state/bin"
printf '#!/bin/sh\nexec %s/kcp kubectl "$@"\n' "$kcp" >"$state/bin/kubectl"
chmod +x "$state/bin/kubectl"
export LEVERET_TEST_KUBECONFIG LEVERET_E2E=$state PATH=$state/bin:$PATH
if [ "${LEVERET_GROWS:-}" = 1 ]; then
  tests/cluster/csi.sh start "$state" >/dev/null
  cargo test --quiet --workspace --test e2e -- --nocapture grow::
else
  cargo test --quiet --workspace --test e2e -- --nocapture --skip grow::
fi
