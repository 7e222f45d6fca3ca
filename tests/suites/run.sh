#!/bin/bash
# run.sh [SUITE...]   the test suites of AMQP clients, as their projects have them, against the broker: pika amqplib py-amqp kombu aiormq
# aio-pika lapin, or those that are named. Prints how many tests of each passed, failed and were skipped; fails if one has failed.
# A broker is started for each on the standard ports, in a network of its own. Sources and tools are kept in
# ${LEVERET_TEST_CACHE:-~/.cache/leveret-test}/suites, from PyPI, npm and crates.io where those have the tests, else cloned from GitHub.
# env:  LEVERET_BROKER_BIN      the broker (default: the release build)
#       PIKA_DIR, AMQPLIB_DIR   checkouts of the two that only GitHub has, instead of a clone
#       SUITES_BROKER=running   against the broker that has the ports 5672, 5671 (TLS) and 15672 here already; certificates for it: certs/
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../cluster/cache.sh
. "$here/../cluster/cache.sh"
in_cache suites
pika=2126d43a76c14fb8d365d96bd1bdcef13dad75b5 # of 2026-08-21, after 1.4.0
amqplib=f7503e571a80dacfc863c2690ab797d31667b868 # of 2026-05-10, after 2.0.1
amqp=5.4.2 kombu=5.7.0 aiormq=6.9.3 aio_pika=9.6.1
pytest=(pytest==8.4.2 pytest-timeout==2.4.0 pytest-rerunfailures==16.1)

# --- what they need -----------------------------------------------------------
# fresh NAME   goes to the folder of that name in the cache, which is empty; false if it has been filled before. `touch .done` ends it.
fresh() {
  [ ! -e "$out/$1/.done" ] || return 1
  rm -rf "${out:?}/$1"
  mkdir -p "$out/$1"
  cd "$out/$1" || exit 1
}

clone() ( # folder repository commit checkout
  fresh "$1" || exit 0
  if [ -n "$4" ]; then
    cp -r "$4/." .
  else
    git init -q
    git fetch -q --depth 1 "https://github.com/$2.git" "$3"
    git checkout -q FETCH_HEAD
  fi
  touch .done
)

sdist() ( # folder package version
  fresh "$1" || exit 0
  pip download --quiet --disable-pip-version-check --no-deps --no-binary "$2" --dest . "$2==$3"
  tar xzf ./*.tar.gz --strip-components 1
  touch .done
)

venv() ( # folder package...
  fresh "$1" || exit 0
  python3 -m venv .
  bin/pip install --quiet --disable-pip-version-check "${@:2}"
  touch .done
)

# The release of lapin that this workspace's own tests use.
lapin() (
  fresh lapin || exit 0
  manifest=$(cargo metadata --format-version 1 --locked --manifest-path "$here/../../Cargo.toml" |
    python3 -c 'import json, sys; print(*(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "lapin"))')
  cp -r "$(dirname "$manifest")/." .
  printf '\n[workspace]\n' >>Cargo.toml
  touch .done
)

certificates() (
  fresh certs || exit 0
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=suites-ca -keyout ca_key.pem -out ca_certificate.pem 2>openssl.log
  for who in server client; do
    openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "${who}_key.pem" -out "$who.csr" 2>>openssl.log
    openssl x509 -req -in "$who.csr" -CA ca_certificate.pem -CAkey ca_key.pem -CAcreateserial -days 3650 \
      -extfile <(echo subjectAltName=DNS:localhost,IP:127.0.0.1) -out "${who}_certificate.pem" 2>>openssl.log
  done
  touch .done
)

lapin_cargo() {
  (cd "$out/lapin" && CARGO_TARGET_DIR=$out/lapin-target cargo "$@" --locked --tests \
    --no-default-features --features default-runtime,rustls,rustls--ring,smol)
}

prepare() {
  certificates
  case $1 in
    pika)
      clone pika pika/pika "$pika" "${PIKA_DIR:-}"
      venv pika-venv "${pytest[@]}" gevent==26.9.0 tornado==6.6.1 twisted==26.10.0
      ;;
    amqplib)
      clone amqplib amqp-node/amqplib "$amqplib" "${AMQPLIB_DIR:-}"
      [ -d "$out/amqplib/node_modules/claire" ] ||
        npm install --prefix "$out/amqplib" --silent --no-audit --no-fund --no-save --ignore-scripts claire@0.4.1
      ;;
    py-amqp | kombu)
      sdist py-amqp amqp "$amqp"
      sdist kombu kombu "$kombu"
      venv py-amqp-venv "${pytest[@]}" "amqp==$amqp" "kombu==$kombu"
      # Its tests look for certificates beside them; the broken one must be refused.
      mkdir -p "$out/py-amqp/t/certs"
      cp "$out"/certs/{ca,client}_certificate.pem "$out/certs/client_key.pem" "$out/py-amqp/t/certs"
      for file in certificate key; do sed 2s/./-/ "$out/certs/client_$file.pem" >"$out/py-amqp/t/certs/client_${file}_broken.pem"; done
      ;;
    aiormq | aio-pika)
      sdist aiormq aiormq "$aiormq"
      sdist aio-pika aio-pika "$aio_pika"
      venv aio-venv "${pytest[@]}" "aiormq==$aiormq" "aio-pika==$aio_pika" aiomisc==18.0.37 aiomisc-pytest==2.0.0 shortuuid==1.0.13 \
        timeout-decorator==0.5.0
      ;;
    lapin)
      lapin
      lapin_cargo test --quiet --no-run
      ;;
    *)
      echo "run.sh: no suite is called $1" >&2
      exit 1
      ;;
  esac
}

# --- one suite, where a broker has the standard ports -------------------------
py() { # venv arguments...
  "$out/$1/bin/python" -m pytest -q -p no:cacheprovider --timeout 120 "${@:2}"
}

suite() {
  cd "$out/$1"
  case $1 in
    pika) PYTHONPATH=. py pika-venv tests/acceptance/*test*.py ;;
    amqplib) node --test --test-reporter=tap ;;
    # Two of its tests ask a server on the internet.
    py-amqp) py py-amqp-venv t/integration --deselect t/integration/test_rmq.py::test_tls_default_certs \
      --deselect t/integration/test_rmq.py::test_tls_no_default_certs_fails ;;
    kombu) py py-amqp-venv t/integration/test_py_amqp.py ;;
    # They would start a broker's container.
    aiormq | aio-pika) PYTHONPATH=$here:. py aio-venv -p broker_is_here tests ;;
    lapin) lapin_cargo test --offline --no-fail-fast ;;
  esac
}

# count LOG WORD   how many tests a log says were so, in the way of its runner.
count() {
  local way="^# $2"
  case $2 in passed) way="^# pass" ;; failed) way="^# fail" ;; esac
  if grep -q '^TAP version' "$1"; then
    grep -E "$way" "$1" | tail -1
  elif grep -q '^test result:' "$1"; then
    grep '^test result:' "$1" | grep -oE "[0-9]+ ${2/skipped/ignored}"
  else
    tail -1 "$1" | grep -oE "[0-9]+ ($2|${2/failed/errors?})"
  fi | grep -oE '[0-9]+' | awk '{ sum += $1 } END { print sum + 0 }' || true # grep fails where it finds nothing
}

broker=
end_broker() {
  [ -z "$broker" ] || { kill "$broker"; wait "$broker"; rm -rf "$data"; } 2>/dev/null || true
  broker=
}

begin_broker() {
  data=$(mktemp -d)
  "$LEVERET_BROKER_BIN" --data-dir "$data" --amqps-listen 127.0.0.1:5671 --tls-cert "$out/certs/server_certificate.pem" \
    --tls-key "$out/certs/server_key.pem" --max-message-size 128MiB >"$out/broker.log" 2>&1 &
  broker=$!
  for _ in {1..100}; do
    ! curl -fsS -o /dev/null http://127.0.0.1:15672/readyz 2>/dev/null || return 0
    sleep 0.1
  done
  echo "run.sh: the broker does not answer; see $out/broker.log" >&2
  exit 1
}

# --- all of them --------------------------------------------------------------
suites=("$@")
[ $# -gt 0 ] || suites=(pika amqplib py-amqp kombu aiormq aio-pika lapin)
if [ -z "${SUITES_INSIDE:-}" ]; then
  alone
  for name in "${suites[@]}"; do
    echo "preparing $name" >&2
    prepare "$name" >&2
  done
  if [ "${SUITES_BROKER:-}" != running ]; then
    export LEVERET_BROKER_BIN=${LEVERET_BROKER_BIN:-$(realpath "${CARGO_TARGET_DIR:-$here/../../target}")/release/leveret-broker}
    root=()
    [ "$(id -u)" = 0 ] || root=(--map-root-user)
    SUITES_INSIDE=1 exec unshare "${root[@]}" --net bash "$here/run.sh" "${suites[@]}"
  fi
fi
[ -z "${SUITES_INSIDE:-}" ] || ip link set lo up
trap end_broker EXIT
bad=0
printf '%-10s %7s %7s %8s %8s\n' suite passed failed skipped seconds
for name in "${suites[@]}"; do
  [ "${SUITES_BROKER:-}" = running ] || begin_broker
  log=$out/$name.log
  began=$SECONDS
  (suite "$name") >"$log" 2>&1 || true
  failed=$(count "$log" failed)
  passed=$(count "$log" passed)
  printf '%-10s %7s %7s %8s %8s\n' "$name" "$passed" "$failed" "$(count "$log" skipped)" $((SECONDS - began))
  if [ "$failed" != 0 ] || [ "$passed" = 0 ]; then
    bad=1
    echo "see $log" >&2
  fi
  end_broker
done
exit $bad
