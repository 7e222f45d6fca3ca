#!/bin/bash
# possible.sh   whether a node with real pods can run on this machine: says why not, and fails. Changes nothing.
# What node-init.sh needs: root, namespaces, control groups of version 1 that can be mounted in them, overlayfs,
# Debian's packages. env:  LEVERET_NODE=0  says no
set -euo pipefail
no() { echo "$1"; exit 1; }
[ "${LEVERET_NODE:-}" != 0 ] || no "LEVERET_NODE=0"
[ "$(id -u)" = 0 ] || no "it needs root"
command -v dpkg >/dev/null || no "it needs the packages of a Debian-like system"
awk 'NR > 1 && $2 > 0 {found = 1} END {exit !found}' /proc/cgroups 2>/dev/null || no "the machine has no control groups of version 1"
# shellcheck disable=SC2016  # for the inner shell
try='mount -t tmpfs tmpfs /mnt && mkdir /mnt/lower /mnt/upper /mnt/work /mnt/all /mnt/memory &&
  mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/all &&
  mount -t cgroup -o memory cgroup /mnt/memory && mount --bind /mnt/lower /proc/sys/vm'
command -v ip >/dev/null && try="$try && ip link add name one type veth peer name other"
said=$(unshare --mount --pid --fork --net --uts --ipc sh -c "$try" 2>&1) || no "namespaces: ${said##*$'\n'}"
