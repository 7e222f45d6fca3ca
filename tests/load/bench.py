#!/usr/bin/env python3
"""bench.py [--quick | --curves | --list]   measures Leveret and, in the same run, RabbitMQ 4.3 from Debian sid.

Each broker runs alone with the generator (`leveret perf`), in a network namespace of its own, on the same disk. The figures
go to docs/performance/bench.json, from there to the tables and plots of docs/performance.md. RabbitMQ needs root (a chroot
in the test cache, made in four minutes the first time); Leveret alone does not.

  --quick     a few scenarios for two minutes, to the terminal only; RabbitMQ only where it is installed already
  --curves    what depth, queues, bindings, connections and unacknowledged messages cost at x, 10x and 100x; Leveret only
  --list      the names of the scenarios
  --document  writes the document anew from the figures that are there

env:  BENCH_SECS, BENCH_WARMUP   seconds measured per load, and before that (20 and 5; --quick: 4 and 1)
      BROKERS         which to run, in this order (default "leveret rabbitmq")
      SCENARIOS       which scenarios, separated by spaces (default all); the figures of others stay as they are
      BENCH_BACKLOG, BENCH_BACKLOG_PEER   messages of the deep queue for Leveret and RabbitMQ (5000000 and 500000)
      BENCH_QUEUES, BENCH_QUEUES_PEER     durable queues, where there are many (10000 and 2000)
      BENCH_NOTE      a word about the machine, like "while other work kept a core busy"
      BENCH_OUT       folder for figures and plots, with the document beside it (default docs/performance)
      RABBITMQ_ROOT   a Debian root with rabbitmq-server in it (default: made in the test cache)
      LEVERET_BROKER_BIN, LEVERET_BIN    programs to use instead of building them
"""
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def enter_network():
    """Starts this program again in a network namespace of its own, where the standard ports are free."""
    if os.environ.get('BENCH_INSIDE'):
        subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
        return
    os.environ['BENCH_INSIDE'] = '1'
    root = [] if os.geteuid() == 0 else ['--map-root-user']
    os.execvp('unshare', ['unshare', '--net', *root, sys.executable, *sys.argv])


def prepare(names):
    """Builds and installs, which needs the network that is left behind then."""
    import brokers
    os.environ['LEVERET_BROKER_BIN'] = brokers.program('leveret-broker', 'LEVERET_BROKER_BIN', 'leveret-broker')
    os.environ['LEVERET_BIN'] = brokers.program('leveret', 'LEVERET_BIN', 'leveret-operator')
    if 'rabbitmq' in names:
        brokers.install_rabbitmq()


def stop_on_signal(number, _):
    raise SystemExit(128 + number)


def chosen(quick):
    import brokers
    names = os.environ.get('BROKERS', 'leveret rabbitmq').split()
    unknown = [name for name in names if name not in brokers.KINDS]
    if unknown:
        sys.exit(f'BROKERS: there is no {unknown[0]}; choose among {", ".join(brokers.KINDS)}')
    if quick and 'BROKERS' not in os.environ and not (brokers.rabbitmq_is_installed() and may_chroot()):
        return ['leveret']
    if 'rabbitmq' in names and not may_chroot():
        sys.exit('RabbitMQ needs root, for its chroot; run as root, or with BROKERS=leveret')
    return names


def may_chroot():
    """Root, and not only in a user namespace."""
    with open('/proc/self/uid_map') as file:
        return os.geteuid() == 0 and file.read().split()[:2] == ['0', '0']


def main():
    arguments = set(sys.argv[1:])
    quick, curves = '--quick' in arguments, '--curves' in arguments
    if arguments - {'--quick', '--curves', '--list', '--document'}:
        sys.exit(__doc__)
    if quick or curves:
        os.environ.setdefault('BENCH_SECS', '4')
        os.environ.setdefault('BENCH_WARMUP', '1')
    import brokers
    import document
    import scenarios
    if '--list' in arguments:
        print('\n'.join(name for name, _ in scenarios.SCENARIOS))
        return
    if '--document' in arguments:
        document.write()
        return
    wanted = os.environ.get('SCENARIOS', ' '.join(scenarios.QUICK if quick else [n for n, _ in scenarios.SCENARIOS])).split()
    known = {name for name, _ in scenarios.SCENARIOS}
    if set(wanted) - known:
        sys.exit(f'SCENARIOS: there is no {min(set(wanted) - known)}; see bench.py --list')
    names = ['leveret'] if curves else chosen(quick)
    if not os.environ.get('BENCH_INSIDE'):
        prepare(names)
    enter_network()
    signal.signal(signal.SIGTERM, stop_on_signal)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.makedirs(brokers.CACHE, exist_ok=True)
    work = tempfile.mkdtemp(prefix='bench.', dir=brokers.CACHE)
    running = []
    try:
        if curves:
            import curves as module
            running.append(brokers.Leveret(work))
            figures = {'curves': module.measure(scenarios.Bench(running[0], work))}
            document.save(figures, {'leveret': running[0].version()})
        else:
            figures, versions = {}, {}
            for name in names:
                broker = brokers.KINDS[name](work)
                running.append(broker)
                versions[name] = broker.version()
                figures[name] = scenarios.measure(scenarios.Bench(broker, work), wanted)
                if not quick:
                    # At once: the next broker may take its time.
                    document.save({name: figures[name]}, versions)
            if quick:
                print(document.loads_table(figures))
                return
        document.write()
    finally:
        for broker in running:
            broker.stop(signal.SIGKILL)
            broker.forget()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == '__main__':
    main()
