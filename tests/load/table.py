#!/usr/bin/env python3
"""table.py FOLDER "BROKER ..."   the figures of bench.sh as Markdown. Reads FOLDER/BROKER.json, a JSON object a line."""
import datetime
import json
import os
import sys

ROWS = [
    ('transient-16B', 'transient, auto-ack, 16 B, 1 publisher, 1 consumer, 64 KiB writes'),
    ('transient-16B-single', 'the same, one message per write'),
    ('transient-1KiB', 'transient, auto-ack, 1 KiB, 64 KiB writes'),
    ('persistent-1KiB', 'persistent, confirms (window 100), acknowledged, 1 KiB, 1 publisher, 1 consumer'),
    ('persistent-1KiB-64', 'the same, 64 publishers, 1 queue, 1 consumer'),
]
NAMES = {'leveret': 'Leveret', 'rabbitmq': 'RabbitMQ'}


def read(folder, broker):
    with open(os.path.join(folder, broker + '.json')) as lines:
        return {row['label']: row for row in map(json.loads, lines)}


def rate(row):
    """Messages that went through: consumed a second."""
    return f"{row['cons']:,.0f}/s"


def cpu(row):
    return f"{row['cpu_per_m']:.2f}"


def latency(row, kind):
    p50, p99 = row[kind][0] / 1000, row[kind][1] / 1000
    return f'{p50:.1f} / {p99:.1f}' if p50 else '-'


def ratio(ours, theirs):
    return f'{ours / theirs:.1f} x' if theirs else '-'


def table(header, rows):
    print('| ' + ' | '.join(header) + ' |')
    print('|' + '---|' * len(header))
    for row in rows:
        print('| ' + ' | '.join(row) + ' |')
    print()


def main():
    folder, brokers = sys.argv[1], sys.argv[2].split()
    figures = {broker: read(folder, broker) for broker in brokers}
    compared = 'leveret' in figures and 'rabbitmq' in figures
    names = [NAMES[broker] for broker in brokers]
    model = next((l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), 'unknown CPU')
    print('# Benchmarks\n')
    print(f'Measured by `make bench` on {datetime.date.today()}: {os.cpu_count()} cores of {model}, Linux {os.uname().release}.')
    print(f"{os.environ['VERSIONS']}.\n")
    print('The brokers ran one after the other on the same machine and disk, each alone with the load generator in a network')
    print('namespace. Rates vary by a third from run to run; broker CPU seconds per million messages ("s/M") vary least.')
    print('Every confirm of Leveret is synced to disk; RabbitMQ\'s classic queues confirm without a sync.\n')
    rows = []
    for label, words in ROWS:
        runs = [figures[broker][label] for broker in brokers]
        row = [words] + [rate(run) for run in runs] + [cpu(run) for run in runs]
        if compared:
            ours, theirs = figures['leveret'][label], figures['rabbitmq'][label]
            row += [ratio(ours['cons'], theirs['cons']), ratio(theirs['cpu_per_m'], ours['cpu_per_m'])]
        rows.append(row)
    header = ['load'] + [f'{name}, consumed' for name in names] + [f'{name}, broker s/M' for name in names]
    table(header + (['rate', 'less CPU'] if compared else []), rows)
    rows = []
    for label, words in ROWS:
        runs = [figures[broker][label] for broker in brokers]
        row = [words] + [f"{run['pub']:,.0f}/s" for run in runs] + [latency(run, 'dl') for run in runs]
        rows.append(row + [latency(run, 'cf') for run in runs] + [f"{run['other_cores']:.2f}" for run in runs])
    header = ['load'] + [f'{name}, published' for name in names] + [f'{name}, deliver p50 / p99 ms' for name in names]
    header += [f'{name}, confirm p50 / p99 ms' for name in names] + [f'beside {name}, cores' for name in names]
    table(header, rows)
    print('At saturation these latencies are time spent in queues. The last columns tell how much of the machine went to neither.\n')
    rows = [
        ['at start'] + [f"{figures[broker]['idle']['rss_kib'] / 1024:.1f} MiB" for broker in brokers],
        ['per connection with a channel (1,000)'] + [f"{figures[broker]['connection']['kib']:.1f} KiB" for broker in brokers],
        ['per idle durable queue (10,000)'] + [f"{figures[broker]['queue']['kib']:.2f} KiB" for broker in brokers],
    ]
    table(['memory (VmRSS)'] + names, rows)
    print('Commands (`tests/load`, `--pid` of the broker added):\n')
    for line in os.environ['COMMANDS'].splitlines():
        print('    ' + line)
    print('    load conns 1000; load declare 10000 --durable')


if __name__ == '__main__':
    main()
