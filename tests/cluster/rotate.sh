#!/bin/bash
# rotate.sh   the API server of a cluster that `up.sh cp` has started is killed, and starts again with another key for the
#             tokens of service accounts. Those that were signed before still count.
# KCP_NAME and KCP_STATE as for up.sh.
set -euo pipefail
name=${KCP_NAME:-cp}
S=${KCP_STATE:-${LEVERET_TEST_CACHE:-$HOME/.cache/leveret-test}/state/$name}
file=$S/pid/kube-apiserver
pid=$(cat "$file")
mapfile -d '' -t command <"/proc/$pid/cmdline"
umask 077
openssl ecparam -name prime256v1 -genkey -noout -out "$S/sa.next" 2>/dev/null
openssl ec -in "$S/sa.next" -pubout >>"$S/sa.pub" 2>/dev/null
mv "$S/sa.next" "$S/sa.key"
kill -KILL "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
setsid "${command[@]}" >>"$S/log/kube-apiserver.log" 2>&1 </dev/null &
echo $! >"$file"
server=$(sed -n 's/.*server: "\([^"]*\)".*/\1/p' "$S/admin.conf")
for _ in $(seq 600); do
  [ "$(curl -s -m 2 --cacert "$S/ca.crt" -o /dev/null -w '%{http_code}' "$server/readyz")" = 200 ] && exit 0
  sleep 0.1
done
echo "rotate.sh: the API server does not come back; see $S/log" >&2
exit 1
