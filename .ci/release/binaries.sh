#!/bin/bash
# binaries.sh   build the programs static (musl), stripped and without a trace of where they were built, and print the
# folder that holds them: leveret-broker, leveret, and the links leveret-operator and kubectl-leveret to leveret, which
# is told apart by the name it is called by (operator/src/program.rs). Needs rustup's target x86_64-unknown-linux-musl
# (or aarch64-...) and Debian's musl-tools; installs what is missing.
# env:  CARGO_TARGET_DIR  as for cargo (default target/)
#       LEVERET_TARGET    default: this machine's architecture, -unknown-linux-musl
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=${LEVERET_TARGET:-$(uname -m)-unknown-linux-musl}
if ! command -v musl-gcc >/dev/null; then
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends musl-tools gcc libc6-dev >&2
fi
rustup target list --installed | grep -qx "$target" || rustup target add "$target" >&2
# ring and mimalloc are C: the compiler must know musl's headers, and paths must not get into their assertions. It does
# not link: its specs know no static-pie and would ask for a dynamic loader.
name=${target//-/_}
export "CC_$name=musl-gcc"
cargo_home=${CARGO_HOME:-$HOME/.cargo}
sysroot=$(rustc --print sysroot)
built=${CARGO_TARGET_DIR:-$PWD/target}   # what build scripts generate is compiled there
# The clone's own folder is in no flag: cargo compiles its crates by relative paths, and a clone elsewhere can use what
# is compiled.
export CFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$built=/target"
export "CARGO_TARGET_${name^^}_RUSTFLAGS=--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$sysroot=/rust --remap-path-prefix=$built=/target -C link-arg=-Wl,--build-id=none"
export CARGO_INCREMENTAL=0 SOURCE_DATE_EPOCH=0 ZERO_AR_DATE=1
cargo build --locked --profile dist --target "$target" -p leveret-broker -p leveret-operator --bin leveret-broker --bin leveret >&2
folder=$built/$target/dist
for program in leveret leveret-broker; do
  if grep -qa '/lib/ld-' "$folder/$program"; then
    echo "binaries.sh: $program is not static" >&2
    exit 1
  fi
  for place in "$PWD/" "$built/" "$cargo_home/" "$sysroot/"; do
    if grep -qaF "$place" "$folder/$program"; then
      echo "binaries.sh: $program tells where it was built: $place" >&2
      exit 1
    fi
  done
done
for name in leveret-operator kubectl-leveret; do ln -sf leveret "$folder/$name"; done
echo "$folder"
