#!/bin/bash
# A tour in under a minute: broker, topology from a folder, messages, a repair by itself, an edit, a refused deletion.
# Ends by itself. Uses ports 5672 and 15672 of this machine, or DEMO_AMQP and DEMO_HTTP; BIN names the folder of the
# programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
BIN=${BIN:-${CARGO_TARGET_DIR:-target}/release}
AMQP=${DEMO_AMQP:-127.0.0.1:5672}
HTTP=${DEMO_HTTP:-127.0.0.1:15672}
work=$(mktemp -d)
cp examples/orders/*.yaml "$work"
dev=
stop() {
  [ -z "$dev" ] || { kill -INT "$dev" 2>/dev/null && wait "$dev" 2>/dev/null; } || true
  rm -rf "$work"
}
trap stop EXIT

say() { printf '\n== %s\n' "$*"; }
fail() { echo "demo: $*" >&2; [ ! -s "$work/log" ] || tail -20 "$work/log" >&2; exit 1; }
api() { curl --silent --show-error --fail --user guest:guest --header 'content-type: application/json' "http://$HTTP/api/$1" "${@:2}"; }
millis() { echo $(($(date +%s%N) / 1000000)); }
# Waits until a command succeeds; prints how many milliseconds that took.
until_ok() { # seconds command...
  local start end; start=$(millis); end=$((start + $1 * 1000)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$(millis)" -lt "$end" ] || return 1
    kill -0 "$dev" 2>/dev/null || return 1
    sleep 0.02
  done
  echo $(($(millis) - start))
}

say "leveret dev examples/orders"
"$BIN/leveret" dev "$work" --amqp-listen "$AMQP" --http-listen "$HTTP" >"$work/log" 2>&1 &
dev=$!
took=$(until_ok 60 grep -q 'objects are Ready' "$work/log") || fail "the objects did not get ready"
cat "$work/log"
echo "ready after $took ms"

say "10 orders are published to exchange 'orders'; every one gets an invoice, the paid ones are shipped"
for n in 1 2 3 4 5 6 7 8 9 10; do
  key=order.created.eu; [ $((n % 2)) = 0 ] && key=order.paid.eu
  api 'exchanges/%2F/orders/publish' --data \
    "{\"properties\":{\"delivery_mode\":2},\"routing_key\":\"$key\",\"payload\":\"order $n\",\"payload_encoding\":\"string\"}" |
    grep -q '"routed":true' || fail "order $n was not routed"
done
got=$(api 'queues/%2F/invoices/get' --data '{"count":3,"ackmode":"ack_requeue_false","encoding":"auto"}' | grep -o '"payload":"[^"]*"' | tr '\n' ' ')
echo "received from 'invoices': $got"
case "$got" in *'order 1"'*'order 2"'*'order 3"'*) ;; *) fail "expected orders 1 to 3";; esac

say "queue 'shipments' is deleted by hand"
api 'queues/%2F/shipments' --request DELETE
repaired=$(until_ok 10 api 'queues/%2F/shipments') || fail "the queue did not come back"
until_ok 10 api 'bindings/%2F/e/orders/q/shipments/order.paid.%2A' >/dev/null || fail "its binding did not come back"
echo "back, with its binding, after $repaired ms"

say "a manifest is added: a queue 'returns'"
cat >"$work/returns.yaml" <<'YAML'
apiVersion: leveret.dev/v1alpha1
kind: Queue
metadata: { name: returns }
spec: { brokerRef: { name: main } }
YAML
added=$(until_ok 10 api 'queues/%2F/returns') || fail "the queue was not declared"
echo "declared after $added ms"

say "its manifest is taken away again while the queue holds a message: the message is safe"
api 'exchanges/%2F/amq.default/publish' --data '{"properties":{},"routing_key":"returns","payload":"shoes","payload_encoding":"string"}' >/dev/null
rm "$work/returns.yaml"
until_ok 10 grep -q 'Queue returns.*DeletionBlocked' "$work/log" >/dev/null || fail "the deletion was not refused"
grep 'Queue returns.*DeletionBlocked' "$work/log" | tail -1
api 'queues/%2F/returns/contents' --request DELETE
gone() { ! api 'queues/%2F/returns'; }
emptied=$(until_ok 60 gone) || fail "the emptied queue did not go"
echo "emptied, and gone after $emptied ms"

say "Ctrl-C"
kill -INT "$dev"
wait "$dev" || fail "leveret dev ended with an error"
dev=
printf '\nAll of it worked: broker and topology up in %s ms, a deleted queue back in %s ms, an added one in %s ms.\n' \
  "$took" "$repaired" "$added"
