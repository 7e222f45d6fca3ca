#!/bin/bash
# bench.sh   measure Leveret and, in the same run, RabbitMQ 4.3 from Debian sid: rate and broker CPU of five loads,
# memory idle, per connection and per queue. Each broker runs alone, in a network namespace of its own, on the same disk.
# Needs root. Writes docs/benchmarks.md.
# env:  BENCH_SECS      seconds measured per load (default 20), after BENCH_WARMUP (default 5)
#       BROKERS         which to run, in this order (default "leveret rabbitmq")
#       RABBITMQ_ROOT   a Debian root with rabbitmq-server in it (default: made in the test cache, takes 4 minutes)
#       LEVERET_BROKER_BIN, LOAD_BIN   programs to use instead of building them
#       BENCH_OUT       where to write (default docs/benchmarks.md)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
cache=${LEVERET_TEST_CACHE:-$HOME/.cache/leveret-test}
secs=${BENCH_SECS:-20} warmup=${BENCH_WARMUP:-5} brokers=${BROKERS:-leveret rabbitmq}
out=${BENCH_OUT:-$root/docs/benchmarks.md}
rabbit=${RABBITMQ_ROOT:-$cache/rabbitmq-sid}
target=${CARGO_TARGET_DIR:-$root/target}
[ "$(id -u)" = 0 ] || { echo "bench.sh: needs root, for network namespaces" >&2; exit 1; }
ulimit -n "$(ulimit -Hn)"

work=$(mktemp -d "$cache/bench.XXXXXX")
ns=lvbench$$
server=           # the process to end
finish() {
  stop_broker || true
  ip netns del "$ns" 2>/dev/null || true
  rm -rf "$work" "$rabbit/var/lib/rabbitmq-$ns"
}
trap finish EXIT
say() { echo "--- [$SECONDS s] $*" >&2; }
inside() { ip netns exec "$ns" "$@"; }

# --- programs -----------------------------------------------------------------------
load=${LOAD_BIN:-$target/load/release/load}
[ -n "${LOAD_BIN:-}" ] || (cd "$here" && CARGO_TARGET_DIR=$target/load cargo build --release --quiet)
broker=${LEVERET_BROKER_BIN:-$target/release/leveret-broker}
[ -n "${LEVERET_BROKER_BIN:-}" ] || (cd "$root" && cargo build --release --quiet -p leveret-broker --bin leveret-broker)

install_rabbitmq() {
  [ -x "$rabbit/usr/lib/rabbitmq/bin/rabbitmq-server" ] && return
  say "install RabbitMQ into $rabbit"
  command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap >/dev/null
  debootstrap --variant=minbase sid "$rabbit" >"$cache/rabbitmq-install.log"
  printf '#!/bin/sh\nexit 101\n' >"$rabbit/usr/sbin/policy-rc.d"; chmod +x "$rabbit/usr/sbin/policy-rc.d"
  echo 'Acquire::Check-Valid-Until "false";' >"$rabbit/etc/apt/apt.conf.d/99novalid"
  mount_rabbitmq
  chroot "$rabbit" sh -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends rabbitmq-server' \
    >>"$cache/rabbitmq-install.log" 2>&1
  printf '127.0.0.1 localhost\n' >"$rabbit/etc/hosts"
}
mount_rabbitmq() {
  mountpoint -q "$rabbit/proc" || mount -t proc proc "$rabbit/proc"
  mountpoint -q "$rabbit/dev" || mount --bind /dev "$rabbit/dev"
  mountpoint -q "$rabbit/sys" || mount -t sysfs sysfs "$rabbit/sys"
}

# --- brokers: start_NAME sets server (to be ended) and pid (to be measured) ------------
start_leveret() {
  mkdir -p "$work/leveret"
  setsid ip netns exec "$ns" "$broker" --data-dir "$work/leveret" >"$work/leveret.log" 2>&1 </dev/null &
  server=$! pid=$!
  for try in $(seq 300); do grep -qx ready "$work/leveret.log" && return; sleep 0.1; done
  cat "$work/leveret.log" >&2; return 1
}
start_rabbitmq() {
  local home=/var/lib/rabbitmq-$ns
  mount_rabbitmq
  mkdir -p "$rabbit$home"
  # The load uses transient queues, as older clients do; 4.3 wants to be told that this is meant.
  echo 'deprecated_features.permit.transient_nonexcl_queues = true' >"$rabbit$home/rabbitmq.conf"
  echo '[rabbitmq_management].' >"$rabbit$home/enabled_plugins"
  printf 'NODENAME=rabbit@localhost\nNODE_IP_ADDRESS=127.0.0.1\nERL_EPMD_ADDRESS=127.0.0.1\n' >"$rabbit$home/env.conf"
  chroot "$rabbit" chown -R rabbitmq:rabbitmq "$home"
  setsid ip netns exec "$ns" chroot "$rabbit" su -s /bin/sh rabbitmq -c "ulimit -n \$(ulimit -Hn); export HOME=/var/lib/rabbitmq \
    RABBITMQ_CONF_ENV_FILE=$home/env.conf RABBITMQ_MNESIA_BASE=$home/data RABBITMQ_LOG_BASE=$home/log RABBITMQ_PID_FILE=$home/pid \
    RABBITMQ_CONFIG_FILE=$home/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE=$home/enabled_plugins; \
    exec /usr/lib/rabbitmq/bin/rabbitmq-server" >"$work/rabbitmq.log" 2>&1 </dev/null &
  for try in $(seq 600); do grep -q 'Starting broker... completed' "$work/rabbitmq.log" && break; sleep 0.1; done
  for p in $(ip netns pids "$ns"); do [ "$(cat "/proc/$p/comm" 2>/dev/null)" = beam.smp ] && pid=$p; done
  [ -n "$pid" ] || { cat "$work/rabbitmq.log" >&2; return 1; }
  server=$pid
}
stop_broker() {
  [ -n "$server" ] || return 0
  kill -TERM "$server" 2>/dev/null || true
  for try in $(seq 300); do kill -0 "$server" 2>/dev/null || break; sleep 0.1; done
  for p in $(ip netns pids "$ns" 2>/dev/null); do kill -KILL "$p" 2>/dev/null || true; done # epmd and what did not end
  server=
}

# Memory is measured on a broker that has done nothing else: what was used once is used again before more is taken.
fresh_start() { # name
  stop_broker; rm -rf "$work/leveret" "$rabbit/var/lib/rabbitmq-$ns"
  pid=; "start_$1"; sleep 5
}

# --- loads --------------------------------------------------------------------------------
persistent="--persistent --durable --size 1024 --confirm 100 --ack 10 --prefetch 500"
labels=(transient-16B transient-16B-single transient-1KiB persistent-1KiB persistent-1KiB-64)
declare -A arguments=(
  [transient-16B]="--size 16"
  [transient-16B-single]="--size 16 --batch-bytes 1"
  [transient-1KiB]="--size 1024"
  [persistent-1KiB]="$persistent"
  [persistent-1KiB-64]="$persistent --publishers 64"
)
field() { sed -n "s/^$1: *\([0-9.]*\).*/\1/p" "$2" | head -n 1; }

[ "${brokers/rabbitmq/}" = "$brokers" ] || install_rabbitmq
ip netns add "$ns"; ip -n "$ns" link set lo up
for name in $brokers; do
  say "$name"
  pid=; "start_$name"
  sleep 10
  awk '/VmRSS/ { printf "{\"label\":\"idle\",\"rss_kib\":%d}\n", $2 }' "/proc/$pid/status" >>"$work/$name.json"
  for label in "${labels[@]}"; do
    # shellcheck disable=SC2086
    inside "$load" run --pid "$pid" --label "$label" --warmup "$warmup" --secs "$secs" --json "$work/$name.json" ${arguments[$label]} >&2
    sleep 2
  done
  fresh_start "$name"
  inside "$load" conns 1000 --pid "$pid" | tee "$work/conns" >&2
  fresh_start "$name"
  inside "$load" declare 10000 --durable --pid "$pid" | tee "$work/declare" >&2
  echo "{\"label\":\"connection\",\"kib\":$(field 'rss per connection' "$work/conns")}" >>"$work/$name.json"
  echo "{\"label\":\"queue\",\"kib\":$(field 'rss per queue' "$work/declare")}" >>"$work/$name.json"
  stop_broker; rm -rf "$work/leveret" "$rabbit/var/lib/rabbitmq-$ns"
done

say "write $out"
versions="leveret-broker $("$broker" --version | awk '{print $2}')"
[ "${brokers/rabbitmq/}" = "$brokers" ] ||
  versions="$versions, RabbitMQ $(chroot "$rabbit" dpkg-query -W -f '${Version}' rabbitmq-server) (classic queues, default configuration, management plugin)"
commands=$(for label in "${labels[@]}"; do echo "$label: load run --warmup $warmup --secs $secs ${arguments[$label]}"; done)
VERSIONS=$versions COMMANDS=$commands python3 "$here/table.py" "$work" "$brokers" >"$work/table.md"
mkdir -p "$(dirname "$out")"; cp "$work/table.md" "$out"
cat "$out"
