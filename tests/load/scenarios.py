"""What is measured: one function for each scenario, in the order in which they are told.

Goes in: a broker that runs, or that can be started. Comes out: a flat dictionary of figures. Knows nothing of documents.
"""
import json
import os
import signal
import statistics
import subprocess
import time

from brokers import NAMES, program, say

PERSISTENT = '-f persistent -s 1024 -c 100 -A 10 -q 500'
SECS = float(os.environ.get('BENCH_SECS', '20'))
WARMUP = float(os.environ.get('BENCH_WARMUP', '5'))
BACKLOG = {
    'leveret': int(os.environ.get('BENCH_BACKLOG', '5000000')),
    # At 25,000 a second and minutes for a restart five million would take this broker ten minutes.
    'rabbitmq': int(os.environ.get('BENCH_BACKLOG_PEER', '500000')),
}
QUEUES = {
    'leveret': int(os.environ.get('BENCH_QUEUES', '10000')),
    # It declares fewer and fewer a second: ten thousand would take it minutes.
    'rabbitmq': int(os.environ.get('BENCH_QUEUES_PEER', '2000')),
}

# name, what it is, flags of `leveret perf`
LOADS = [
    ('transient-16B', 'transient, auto-ack, 16 B, 1 to 1, 64 KiB writes', '-s 16 -a'),
    ('transient-16B-single', 'the same, one message per write', '-s 16 -a --batch-bytes 1'),
    ('transient-1KiB', 'transient, auto-ack, 1 KiB, 1 to 1, 64 KiB writes', '-s 1024 -a'),
    ('persistent', 'persistent, confirms (window 100), acknowledged, 1 KiB, 1 to 1', PERSISTENT),
    ('persistent-64-1-1', 'the same, 64 publishers, 1 queue, 1 consumer', f'{PERSISTENT} -x 64'),
    ('persistent-64-64-64', 'the same, 64 publishers, 64 queues, 64 consumers',
     f'{PERSISTENT} -x 64 -y 64 --queue-pattern bench-%d --queue-pattern-to 64 --delete'),
    ('fan-out', 'fan-out 1 to 10, transient, auto-ack, 100 B (deliveries)',
     '-s 100 -a -e bench-fan -t fanout -y 10 --queue-pattern bench-%d --queue-pattern-to 10 --delete'),
    ('latency', 'latency at 10,000 messages a second, persistent, confirms, 1 KiB',
     '-f persistent -s 1024 -c 10000 -A 10 -q 500 -r 10000'),
]


class Bench:
    """A broker under measurement, and the program that measures."""

    def __init__(self, broker, work):
        self.broker, self.work = broker, work
        self.perf = program('leveret', 'LEVERET_BIN', 'leveret-operator')
        self.pid = None

    def fresh(self, settle=3):
        """A new broker without data: memory that was used once is used again before more is taken."""
        self.broker.stop()
        self.broker.forget()
        self.pid = self.broker.start()
        time.sleep(settle)

    def restart_after_kill(self, queue, depth=None):
        """Seconds from the start of the process until the queue answers (with all of its messages)."""
        self.broker.stop(signal.SIGKILL)
        begun = time.monotonic()
        waiting = subprocess.Popen([self.perf, 'perf', 'depth', '-u', queue], stdout=subprocess.PIPE, text=True)
        self.pid = self.broker.start()
        out, _ = waiting.communicate(timeout=900)
        if waiting.returncode:
            raise RuntimeError(f'{queue} did not come back')
        found = json.loads(out)
        if depth is not None and found['messages'] != depth:
            raise RuntimeError(f'{queue} has {found["messages"]} messages after the restart, not {depth}')
        return found['seconds'] if found['seconds'] else time.monotonic() - begun

    def run(self, arguments):
        """One run of the generator; its figures, flat."""
        return flat(self.call(f'{arguments} --json'))

    def load(self, arguments, secs=SECS, warmup=WARMUP):
        return self.run(f'{arguments} -z {secs:g} --warmup {warmup:g}')

    def call(self, arguments):
        command = [self.perf, 'perf', *arguments.split(), '--pid', str(self.pid)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f'{" ".join(command)}: {done.stderr.strip().splitlines()[-1:]}')
        return json.loads(done.stdout)

    def rss_mib(self):
        with open(f'/proc/{self.pid}/status') as file:
            return next(int(line.split()[1]) for line in file if line.startswith('VmRSS:')) / 1024

    def disk_bytes(self):
        total = 0
        for folder, _, names in os.walk(self.broker.files()):
            for name in names:
                try:
                    total += os.stat(os.path.join(folder, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
        return total


def flat(run):
    """The figures that tables and curves use."""
    broker, deliver, confirm = run.get('broker') or {}, run.get('deliver_ms') or {}, run.get('confirm_ms') or {}
    figures = {
        'published': run['published']['per_second'],
        'consumed': run['consumed']['per_second'],
        'confirmed': run['confirmed']['per_second'],
        'per_million': broker.get('seconds_per_million'),
        'cores': broker.get('cores'),
        'rss_mib': broker.get('rss_kib', 0) / 1024,
        'generator_cores': run['generator']['cores'],
        'generator_per_million': run['generator']['seconds_per_million'],
        'other_cores': run['other_cores'],
        'backlog': run['backlog'],
        'seconds': run['seconds'],
    }
    for name, spread in (('deliver', deliver), ('confirm', confirm)):
        figures.update({f'{name}_{quantile}': spread.get(quantile) for quantile in ('p50', 'p99', 'p999')})
    return figures


def load_named(name, flags):
    def measure(bench):
        figures = bench.load(flags)
        time.sleep(2)  # RabbitMQ deletes a long queue after it has said so
        return figures
    measure.__name__ = name
    return measure


def memory(bench):
    """Resident memory at start, and per idle connection."""
    bench.fresh()
    idle = bench.rss_mib()
    connections = bench.call('conns 1000')
    return {'idle_mib': idle, 'connection_kib': connections['kib_each'], 'connections_per_second': connections['per_second']}


def topic(bench):
    """A topic exchange with 10,000 wildcard bindings, and publishes that match them."""
    bound = bench.call('bind 10000 --pipelined --settle 0')
    run = bench.load('-s 100 -a -p -e bench-topics -t topic -u bench --topic-keys 10000')
    return run | {'bind_per_second': bound['per_second']}


def connections(bench):
    """5,000 connections that publish a message a second each, to one consumer."""
    return bench.load('-x 5000 -r 1 -f persistent -s 1024 -c 100 -A 10 -q 500')


def declarations(bench):
    """Declare, bind and delete one by one on one channel, then in flights that share a sync."""
    figures = {}
    for how, flag in (('single', ''), ('pipelined', '--pipelined')):
        for what in ('declare', 'bind', 'delete'):
            count = 1000 if bench.broker.name == 'rabbitmq' or how == 'single' else 10000
            cost = bench.call(f'{what} {count} --durable {flag} --settle 0 -u {how}')
            figures[f'{what}_{how}'] = cost['per_second']
    return figures


def queues(bench):
    """Thousands of durable queues: memory, GET /api/queues, a message now and then on each, a restart after kill -9."""
    bench.fresh()
    count = QUEUES[bench.broker.name]
    made = bench.call(f'declare {count} --durable --pipelined')
    figures = {'queues': count, 'queue_kib': made['kib_each'], 'declare_pipelined': made['per_second']}
    figures['get_queues_ms'] = get_ms('/api/queues', attempts=3)
    figures['get_page_ms'] = get_ms('/api/queues?page=1&page_size=100', attempts=3)
    run = bench.load(f'-p --queue-pattern bench-%d --queue-pattern-to {count} -f persistent -s 1024 -c 1000 -A 1 -q 100 -r {count}')
    figures |= run
    figures['restart_seconds'] = bench.restart_after_kill(f'bench-{count}')
    return figures


def backlog(bench):
    """Millions of persistent messages into one queue, a restart after kill -9 with them, and out again."""
    bench.fresh()
    count, idle = BACKLOG[bench.broker.name], bench.rss_mib()
    empty = bench.disk_bytes()
    fill = bench.run(f'-y 0 -C {count} -z 900 -s 100 -f persistent -c 2000 -u deep')
    time.sleep(1)
    rss, disk = bench.rss_mib(), bench.disk_bytes() - empty
    restart = bench.restart_after_kill('deep', depth=count)
    time.sleep(1)
    drain = bench.run(f'-p -x 0 -D {count} -z 900 -a -u deep')
    time.sleep(2)
    return {
        'messages': count, 'fill': fill['published'], 'fill_per_million': fill['per_million'],
        'rss_mib': rss, 'over_idle_mib': rss - idle, 'disk_per_message': disk / count, 'restart_seconds': restart,
        'drain': drain['consumed'], 'drain_per_million': drain['per_million'], 'rss_after_mib': bench.rss_mib(),
    }


def get_ms(path, attempts):
    """Milliseconds until the whole answer is there; the median."""
    times = []
    for _ in range(attempts):
        command = ['curl', '-sf', '-o', '/dev/null', '-u', 'guest:guest', '-w', '%{time_total}', f'http://127.0.0.1:15672{path}']
        times.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1000)
    return statistics.median(times)


# Those that start a broker of their own come last.
SCENARIOS = [('memory', memory)] + [(name, load_named(name, flags)) for name, _, flags in LOADS] + [
    ('topic', topic), ('connections', connections), ('declarations', declarations), ('queues', queues), ('backlog', backlog),
]
QUICK = ['transient-16B', 'transient-1KiB', 'persistent', 'persistent-64-1-1', 'fan-out', 'latency']


def measure(bench, wanted):
    """Runs the wanted scenarios; one that fails is told and left out."""
    results = {}
    for name, scenario in SCENARIOS:
        if name not in wanted:
            continue
        say(f'{NAMES[bench.broker.name]}: {name}')
        try:
            if bench.pid is None:
                bench.fresh()
            results[name] = scenario(bench)
        except (RuntimeError, subprocess.SubprocessError, OSError, ValueError) as error:
            say(f'{name} failed: {error}')
            bench.broker.stop(signal.SIGKILL)
            bench.pid = None
            continue
        say('  ' + '  '.join(f'{key} {value:.4g}' for key, value in results[name].items() if isinstance(value, (int, float))))
    bench.broker.stop()
    bench.broker.forget()
    return results
