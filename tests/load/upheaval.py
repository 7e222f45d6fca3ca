#!/usr/bin/env python3
"""upheaval.py   what clients notice while something large goes on beside them, and what a passing queue writes.

Latency at 10,000 persistent confirmed messages a second while a queue of a gigabyte is purged, while one is deleted, and while the
files of ten million messages of which every second has gone are emptied. Then the bytes written per byte published. Needs ports 5672
and 15672 free: run it in a network namespace of its own (`unshare -n`), with `ip link set lo up` before.

env:  LEVERET_BROKER_BIN, LEVERET_BIN   as for bench.py
"""
import base64
import json
import subprocess
import tempfile
import time
import urllib.request

import brokers
import scenarios

LOAD = '-f persistent -s 1024 -c 10000 -A 10 -q 500 -r 10000 -z 6 --warmup 1 --json'
WRITTEN = ['appended', 'copied', 'prepared', 'checkpoint']


def http(method, path):
    login = base64.b64encode(b'guest:guest').decode()
    request = urllib.request.Request(f'http://127.0.0.1:15672{path}', method=method, headers={'Authorization': f'Basic {login}'})
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


def written():
    values = dict(line.rsplit(' ', 1) for line in http('GET', '/metrics').splitlines() if line.startswith('leveret_log_'))
    return {name: float(values[f'leveret_log_{name}_bytes_total']) for name in WRITTEN}


def clients(bench, what, upheaval=None):
    command = [bench.perf, 'perf', *LOAD.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as load:
        if upheaval:
            time.sleep(3)
            http('DELETE', upheaval)
        run = json.loads(load.stdout.read())
    for side in ('deliver', 'confirm'):
        spread = run[f'{side}_ms']
        print(f'{what}: {side} ' + ', '.join(f'{name} {spread[name]:.2f}' for name in ('p50', 'p99', 'p999', 'max')) + ' ms')


def main():
    with tempfile.TemporaryDirectory(dir=brokers.CACHE) as work:
        bench = scenarios.Bench(brokers.KINDS['leveret'](work), work)
        bench.fresh()
        try:
            clients(bench, 'nothing else')
            for what, path in (('purge of 1 GB', '/api/queues/%2f/big/contents'), ('delete of 1 GB', '/api/queues/%2f/big')):
                bench.run('-y 0 -C 1000000 -z 900 -s 1024 -f persistent -c 2000 -u big')
                clients(bench, what, path)
            idle = bench.rss_mib()
            bench.run('-y 0 -C 10000000 -z 900 -s 100 -f persistent -c 2000 --queue-pattern two-%d --queue-pattern-to 2')
            time.sleep(2)
            print(f'10 M messages: {bench.rss_mib() - idle:.1f} MiB more memory')
            bench.run('-p -x 0 -D 5000000 -z 900 -a -u two-1')
            clients(bench, 'emptying files of 10 M')
            bench.run('-p -x 0 -D 5000000 -z 900 -a -u two-2')
            time.sleep(4)
            before = written()
            passed = bench.run('-f persistent -s 1024 -c 100 -A 10 -q 500 -z 6 --warmup 0')
            grown = {name: value - before[name] for name, value in written().items()}
            published = passed['published'] * passed['seconds'] * 1024
            print(f'passing queue: {sum(grown.values()) / published:.2f} bytes written per byte published', grown)
        finally:
            bench.broker.stop()


if __name__ == '__main__':
    main()
