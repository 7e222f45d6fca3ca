"""What size costs: the same work at x, 10x and 100x of one quantity, Leveret only.

Goes in: a broker. Comes out: for each quantity a list of points, with the broker's CPU seconds per million messages and the
rate. A flat line means that the cost grows with the work and not with the size.
"""
import os
import signal
import subprocess

from brokers import say

SECS, WARMUP = float(os.environ.get('BENCH_SECS', '4')), float(os.environ.get('BENCH_WARMUP', '1'))
FLOW = '-f persistent -s 1024 -c 100 -A 10 -q 500'


def depth(bench, size):
    """Messages of 100 B into one queue, then all of them out again; their number varies."""
    filled, drained = [], []
    bench.fresh(settle=1)
    bench.run('-C 200000 -z 60 -s 100 -f persistent -c 2000 -a -u deep')  # the log's first files are made
    for _ in range(max(1, 1_000_000 // size)):  # CPU time is counted in hundredths of a second
        filled.append(bench.run(f'-y 0 -C {size} -z 600 -s 100 -f persistent -c 2000 -u deep'))
        drained.append(bench.run(f'-p -x 0 -D {size} -z 600 -a -u deep'))
    mean = lambda runs, key: sum(run[key] for run in runs) / len(runs)
    fill = {key: mean(filled, key) for key in ('per_million', 'other_cores', 'confirm_p99')}
    return fill | {'consumed': mean(drained, 'consumed'), 'drain': mean(drained, 'per_million'), 'deliver_p99': None}


def queues(bench, size):
    """A fixed rate, spread over durable queues; the number of queues varies."""
    bench.fresh(settle=1)
    bench.call(f'declare {size} --durable --pipelined --settle 0')
    pattern = f'--queue-pattern bench-%d --queue-pattern-to {size}'
    return bench.load(f'-p {pattern} -f persistent -s 1024 -c 1000 -A 1 -q 100 -r 20000', SECS, WARMUP)


def idle_queues(bench, size):
    """One busy queue beside idle ones; the number of idle ones varies."""
    bench.fresh(settle=1)
    bench.call(f'declare {size} --durable --pipelined --settle 0')
    return bench.load(FLOW, SECS, WARMUP)


def bindings(bench, size):
    """Through a topic exchange with wildcard bindings, with a key for each of them; the number of bindings varies."""
    bench.fresh(settle=1)
    bench.call(f'bind {size} --pipelined --settle 0')
    return bench.load(f'-s 100 -a -p -e bench-topics -t topic -u bench --topic-keys {size}', SECS, WARMUP)


def connections(bench, size):
    """The same 5,000 messages a second; the number of connections varies."""
    bench.fresh(settle=1)
    return bench.load(f'-x {size} -r {5000 / size} -f persistent -s 1024 -c 100 -A 10 -q 500', SECS, WARMUP)


def unacked(bench, size):
    """A consumer that acknowledges late; the number of messages unacknowledged at a time varies."""
    bench.fresh(settle=1)
    return bench.load(f'-f persistent -s 1024 -c 1000 -A {size} -q 0 -r 100000', SECS, WARMUP)


# name, title, what grows, sizes, function
CURVES = [
    ('depth', 'Depth', 'messages in the queue', [100_000, 1_000_000, 10_000_000], depth),
    ('queues', 'Queues in use', 'queues that share 20,000 messages a second', [100, 1_000, 10_000], queues),
    ('idle-queues', 'Idle queues', 'durable queues beside the busy one', [100, 1_000, 10_000], idle_queues),
    ('bindings', 'Topic bindings', 'wildcard bindings of the exchange', [100, 1_000, 10_000], bindings),
    ('connections', 'Connections', 'connections that share 5,000 messages a second', [50, 500, 5_000], connections),
    ('unacked', 'Unacknowledged messages', 'messages unacknowledged at a time', [1_000, 10_000, 100_000], unacked),
]


def measure(bench):
    """The points of all curves, or of those that CURVES names."""
    wanted = os.environ.get('CURVES', ' '.join(name for name, *_ in CURVES)).split()
    unknown = set(wanted) - {name for name, *_ in CURVES}
    if unknown:
        raise SystemExit(f'CURVES: there is no {min(unknown)}; choose among {", ".join(name for name, *_ in CURVES)}')
    found = {}
    for name, _, _, sizes, function in CURVES:
        if name not in wanted:
            continue
        found[name] = []
        for size in sizes:
            try:
                figures = function(bench, size)
            except (RuntimeError, subprocess.SubprocessError) as error:
                say(f'{name} {size} failed: {error}')
                bench.broker.stop(signal.SIGKILL)
                continue
            point = {key: figures[key] for key in ('per_million', 'consumed', 'deliver_p99', 'confirm_p99', 'other_cores')}
            found[name].append({'x': size} | point | {key: figures[key] for key in ('drain',) if key in figures})
            say(f'{name} {size}: {figures["per_million"]:.3g} s/M, {figures["consumed"]:,.0f}/s')
    return found
