#!/usr/bin/env python3
"""zeromq.py [SECONDS]   ZeroMQ's sockets through the broker, beside the same sockets of libzmq directly with each other.

Goes in: libzmq with its headers (Debian: libzmq3-dev), a C compiler, the release build of the broker (LEVERET_BROKER_BIN: another one).
Comes out: a table, to the terminal. Each figure is the middle one of RUNS (3) runs of SECONDS (3). Whatever else this machine does
shows in it; the columns are measured in turn, so that it shows in both.
"""
import base64
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RUNS = int(os.environ.get('RUNS', '3'))
# Below those that the system gives to clients.
AMQP, HTTP, METRICS, DIRECT, FIRST = 21672, 21673, 21674, 21675, 21680
SUBSCRIBERS = 10


def compiled(work):
    """The load, built here: it is one file."""
    program = os.path.join(work, 'zeromq')
    build = ['cc', '-O2', '-o', program, os.path.join(HERE, 'zeromq.c'), '-lzmq']
    if subprocess.run(build, check=False).returncode:
        sys.exit('zeromq.py: the load could not be built: it takes a C compiler, and libzmq with its headers (libzmq3-dev)')
    return program


def broker_binary():
    given = os.environ.get('LEVERET_BROKER_BIN')
    if given:
        return given
    subprocess.run(['cargo', 'build', '--release', '--quiet', '-p', 'leveret-broker', '--bin', 'leveret-broker'], cwd=ROOT, check=True)
    return os.path.join(os.environ.get('CARGO_TARGET_DIR', os.path.join(ROOT, 'target')), 'release', 'leveret-broker')


class Broker:
    """A broker on ports of its own, with the sockets that are measured."""

    def __init__(self, binary, work):
        command = [binary, '--data-dir', os.path.join(work, 'data'), '--amqp-listen', f'127.0.0.1:{AMQP}',
                   '--http-listen', f'127.0.0.1:{HTTP}', '--prometheus-listen', f'127.0.0.1:{METRICS}']
        self.log = open(os.path.join(work, 'broker.log'), 'w')
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        for _ in range(200):
            try:
                self.ask('GET', '/api/whoami')
                return
            except OSError:
                time.sleep(0.05)
        sys.exit('zeromq.py: the broker did not start')

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f'http://127.0.0.1:{HTTP}{path}', data, method=method)
        request.add_header('Authorization', 'Basic ' + base64.b64encode(b'guest:guest').decode())
        request.add_header('Content-Type', 'application/json')
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def socket(self, name, port, **fields):
        """Declares a socket, and gives its endpoint and the public key of its side."""
        path = '/api/zeromq/sockets/%2F/' + urllib.parse.quote(name, safe='')
        listen = f'tcp://127.0.0.1:{port}'
        self.ask('PUT', path, {'listen': listen, **fields})
        for _ in range(100):
            shown = self.ask('GET', path)
            if shown['state'] == 'running':
                return listen, shown.get('curve_server_key')
            time.sleep(0.05)
        sys.exit(f'zeromq.py: {shown}')

    def place(self, name, durable=False, curve=None):
        """A queue, and a socket on each side of it."""
        self.ask('PUT', f'/api/queues/%2F/{name}', {'durable': durable})
        login = {'mechanism': 'curve', 'curve-clients': {curve: 'guest'}} if curve else {'user': 'guest'}
        port = FIRST + 2 * len(self.ask('GET', '/api/zeromq/sockets'))
        more = {'durable': True} if durable else {}
        into = self.socket(f'{name}-in', port, type='pull', queue=name, **more, **login)
        out = self.socket(f'{name}-out', port + 1, type='push', queue=name, **login)
        return into, out

    def topics(self):
        self.ask('PUT', '/api/exchanges/%2F/topics', {'type': 'x-prefix'})
        into = self.socket('topics-in', FIRST + 60, type='sub', exchange='topics', user='guest')
        return into, self.socket('topics-out', FIRST + 61, type='pub', exchange='topics', hwm=100_000, user='guest')

    def requests(self):
        self.ask('PUT', '/api/queues/%2F/requests', {'durable': False})
        into = self.socket('requests-in', FIRST + 62, type='router', queue='requests', user='guest')
        return into, self.socket('requests-out', FIRST + 63, type='dealer', queue='requests', user='guest')

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.log.close()


class Load:
    def __init__(self, program, seconds):
        self.program, self.seconds = program, seconds

    def start(self, kind, how, endpoint, size, keys):
        command = [self.program, kind, how, endpoint, str(size), str(self.seconds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | (keys or {}))

    def run(self, measured, others):
        """Starts `others`, then those that are measured; gives what these print."""
        running = [self.start(*other) for other in others]
        found = [self.start(*one) for one in measured]
        try:
            return [one.communicate(timeout=self.seconds * 4 + 20)[0].split() for one in found]
        finally:
            for process in running + found:
                process.kill()
                process.wait()

    def rate(self, measured, others):
        return sum(float(words[0]) for words in self.run(measured, others))


def keys_of(program):
    public, secret = subprocess.run([program, 'keys'], capture_output=True, text=True, check=True).stdout.split()
    return public, secret


def rows(load, broker):
    """Name, unit, and the two measurements of each row."""
    direct = f'tcp://127.0.0.1:{DIRECT}'

    def pipe(size, places, at_server=None, at_clients=(None, None, None)):
        """The same load both ways. Keys: of the side that binds, and of those that connect directly, to feed and to take."""
        (into, _), (out, _) = places
        to_server, to_feed, to_take = at_clients
        return (lambda: load.rate([('pull', 'bind', direct, size, at_server)], [('push', 'connect', direct, size, to_server)]),
                lambda: load.rate([('pull', 'connect', out, size, to_take)], [('push', 'connect', into, size, to_feed)]))

    for name, durable in (('transient', False), ('durable', True)):
        for size in (64, 1024):
            yield f'PUSH to PULL, {size} B, {name}', 'k/s', *pipe(size, broker.place(f'{name}-{size}', durable))
    (server, secret), (client, own) = keys_of(load.program), keys_of(load.program)
    places = broker.place('curve', curve=client)
    at_clients = [{'SERVER_PUBLIC': key, 'CLIENT_PUBLIC': client, 'CLIENT_SECRET': own}
                  for key in (server, *(key for _, key in places))]
    yield 'PUSH to PULL, 64 B, CURVE', 'k/s', *pipe(64, places, {'SERVER_SECRET': secret}, at_clients)
    (into, _), (out, _) = broker.topics()

    def fan_out(where, how):
        return [('sub', how, where, 64, None)] * SUBSCRIBERS
    yield (f'PUB to {SUBSCRIBERS} SUB, 64 B, deliveries', 'k/s',
           lambda: load.rate(fan_out(direct, 'connect'), [('pub', 'bind', direct, 64, None)]),
           lambda: load.rate(fan_out(out, 'connect'), [('pub', 'connect', into, 64, None)]))
    (into, _), (out, _) = broker.requests()
    for place, percentile in enumerate(('p50', 'p99')):
        yield (f'REQ to REP, 64 B, {percentile}', 'us',
               lambda place=place: float(load.run([('req', 'connect', direct, 64, None)], [('rep', 'bind', direct, 64, None)])[0][place]),
               lambda place=place: float(load.run([('req', 'connect', into, 64, None)], [('rep', 'connect', out, 64, None)])[0][place]))


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    work = tempfile.mkdtemp(prefix='leveret-zeromq-')
    broker = None
    try:
        load = Load(compiled(work), seconds)
        broker = Broker(broker_binary(), work)
        print('| | libzmq directly | through Leveret | |\n|---|---|---|---|', flush=True)
        for name, unit, direct, through in rows(load, broker):
            found = [(direct(), through()) for _ in range(RUNS)]
            one, two = (statistics.median(column) for column in zip(*found))
            scale = 1000 if unit == 'k/s' else 1
            print(f'| {name} | {one / scale:,.0f} {unit} | {two / scale:,.0f} {unit} | x {two / one:.2f} |', flush=True)
    finally:
        if broker:
            broker.stop()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == '__main__':
    main()
