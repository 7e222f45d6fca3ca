#!/bin/bash
# reproducible.sh   build the image twice, from two clones of HEAD in folders of different names and lengths with target
# folders of their own, and compare. Says the digest, or what differs and fails. Needs what binaries.sh needs.
# env:  FIRST  an archive that image.sh has made of HEAD already: only the second build is made then
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build() { # folder
  git clone --quiet --no-hardlinks . "$work/$1/clone"
  (cd "$work/$1/clone" && CARGO_TARGET_DIR=$work/$1/target IMAGE=leveret:reproducible .ci/release/image.sh "$work/$1.tar")
}
if [ -n "${FIRST:-}" ]; then cp "$FIRST" "$work/a.tar"; else build a; fi
build another-folder-with-a-longer-name
digest() { tar -xOf "$1" index.json | python3 -c 'import json, sys; print(json.load(sys.stdin)["manifests"][0]["digest"])'; }
first=$(digest "$work/a.tar") second=$(digest "$work/another-folder-with-a-longer-name.tar")
if [ "$first" != "$second" ]; then
  echo "reproducible.sh: two builds of $(git rev-parse --short HEAD) differ: $first, $second" >&2
  for side in a another-folder-with-a-longer-name; do
    mkdir -p "$work/$side/files"
    layer=$(tar -xOf "$work/$side.tar" manifest.json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["Layers"][0])')
    tar -xOf "$work/$side.tar" "$layer" | tar -xzf - -C "$work/$side/files" --no-same-owner
    (cd "$work/$side/files" && find . -type f -exec sha256sum {} + | sort -k2) >"$work/$side.sums"
  done
  diff "$work/a.sums" "$work/another-folder-with-a-longer-name.sums" >&2
  exit 1
fi
echo "the same twice: $first"
