"""check.py STEP   what every ZeroMQ client is tried for: pipeline, publish-subscribe, request, dealer, router, heartbeats, restart,
refused; and subscriptions. Prints ok at the end. ZMQ_PUSH, ZMQ_PULL, ZMQ_PUB, ZMQ_SUB, ZMQ_REQ and ZMQ_REP are where a socket of that type connects to."""
import os
import sys
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

CONTEXT = zmq.Context()
MESSAGES = [[b'one'], [b''], [b'a', b'', b'ccc', b''], [b'x' * 255], [b'x' * 256, b'y' * 100_000]] + [[b'%d' % number] for number in range(100)]


def made(kind, **options):
    socket = CONTEXT.socket(kind)
    socket.linger, socket.rcvtimeo, socket.sndtimeo, socket.reconnect_ivl = 0, 10_000, 10_000, 50
    for name, value in options.items():
        setattr(socket, name, value)
    return socket


def place(name, socket):
    """Tells a socket who it is, and where the broker's is."""
    if 'ZMQ_USER' in os.environ:
        socket.plain_username, socket.plain_password = os.environb[b'ZMQ_USER'], os.environb[b'ZMQ_PASSWORD']
    if 'ZMQ_PUBLIC' in os.environ:
        socket.curve_publickey, socket.curve_secretkey = os.environb[b'ZMQ_PUBLIC'], os.environb[b'ZMQ_SECRET']
        socket.curve_serverkey = os.environb[f'ZMQ_{name}_KEY'.encode()]
    return os.environ[f'ZMQ_{name}']


def connected(kind, name, **options):
    socket = made(kind, **options)
    socket.connect(place(name, socket))
    return socket


def pipeline():
    push, pull = connected(zmq.PUSH, 'PUSH'), connected(zmq.PULL, 'PULL')
    for message in MESSAGES:
        push.send_multipart(message)
    assert [pull.recv_multipart() for _ in MESSAGES] == MESSAGES


def subscribed(pub, sub, topic):
    """Until the subscription is known, publishes what it is for; then passes over what came of that."""
    sub.subscribe(topic)
    for number in range(200):
        pub.send_multipart([topic, b'are you there'])
        if sub.poll(50):
            break
    pub.send_multipart([topic, b'now'])
    while sub.recv_multipart() != [topic, b'now']:
        pass


def publish_subscribe():
    pub, sub = connected(zmq.PUB, 'PUB'), connected(zmq.SUB, 'SUB')
    subscribed(pub, sub, b'price.')
    for message in [b'price.eur', b'1'], [b'news', b'none'], [b'price.usd', b'', b'2'], [b'price']:
        pub.send_multipart(message)
    sub.subscribe(b'weather')
    assert sub.recv_multipart() == [b'price.eur', b'1']
    assert sub.recv_multipart() == [b'price.usd', b'', b'2']
    sub.unsubscribe(b'price.')
    subscribed(pub, sub, b'end')
    pub.send_multipart([b'price.gbp', b'3'])
    pub.send_multipart([b'end', b'last'])
    assert sub.recv_multipart() == [b'end', b'last']


def subscriptions():
    """Ten thousand of them: a message comes once for those that fit, and not for those that are gone. libzmq drops subscriptions, too, beyond SNDHWM."""
    pub, sub = connected(zmq.PUB, 'PUB'), connected(zmq.SUB, 'SUB', sndhwm=0)
    topics = [b'topic.%d.' % number for number in range(10_000)]
    for topic in topics:
        sub.subscribe(topic)
    for topic in topics[1::2]:
        sub.unsubscribe(topic)
    subscribed(pub, sub, b'end')
    for topic in topics[::100] + topics[1::100] + [b'topic.10000.', b'topic.', b'end']:
        pub.send_multipart([topic + b'x', b'once'])
    for topic in topics[::100] + [b'end']:
        assert sub.recv_multipart() == [topic + b'x', b'once'], topic


def request():
    client, worker = connected(zmq.REQ, 'REQ'), connected(zmq.REP, 'REP')
    for number in range(20):
        asked, told = [b'what is', b'', b'%d' % number], [b'it is', b'%d' % number]
        client.send_multipart(asked)
        assert worker.recv_multipart() == asked
        worker.send_multipart(told)
        assert client.recv_multipart() == told


def dealer():
    client, worker = connected(zmq.DEALER, 'REQ'), connected(zmq.DEALER, 'REP')
    for message in [b'', b'one'], [b'', b'two', b'parts']:
        client.send_multipart(message)
    for body in [b'one'], [b'two', b'parts']:
        envelope = worker.recv_multipart()
        end = envelope.index(b'')
        assert envelope[end + 1:] == body, envelope
        worker.send_multipart(envelope[:end + 1] + [b're'] + body)
    replies = sorted(client.recv_multipart() for _ in range(2))
    assert replies == [[b'', b're', b'one'], [b'', b're', b'two', b'parts']], replies


def router():
    client, worker = connected(zmq.REQ, 'REQ', routing_id=b'client'), connected(zmq.ROUTER, 'REP')
    for number in range(5):
        client.send(b'%d' % number)
        *envelope, body = worker.recv_multipart()
        assert body == b'%d' % number and envelope[-1] == b'', (envelope, body)
        worker.send_multipart([*envelope, b're', body])
        assert client.recv_multipart() == [b're', b'%d' % number]


def events(socket, seconds, until=()):
    """Names of what happens to a socket, up to one of these or for so long."""
    seen, monitor, end = [], socket.get_monitor_socket(), time.monotonic() + seconds
    while time.monotonic() < end and not set(until) & set(seen):
        if monitor.poll(50):
            seen.append(zmq.Event(recv_monitor_message(monitor)['event']).name)
    return seen


def heartbeats():
    beats = {'heartbeat_ivl': 100, 'heartbeat_ttl': 600, 'heartbeat_timeout': 500}
    push, pull = connected(zmq.PUSH, 'PUSH', **beats), connected(zmq.PULL, 'PULL', **beats)
    push.send(b'before')
    assert pull.recv() == b'before'
    assert 'DISCONNECTED' not in events(push, 1.5), 'PINGs were not answered'
    push.send(b'after')
    assert pull.recv() == b'after'


def restart():
    push, pull = connected(zmq.PUSH, 'PUSH'), connected(zmq.PULL, 'PULL')
    push.send(b'before')
    assert pull.recv() == b'before'
    print('ready', flush=True)
    sys.stdin.readline()
    for number in range(100):
        push.send(b'after')
        if pull.poll(100):
            assert pull.recv() == b'after'
            return
    raise AssertionError('nothing came after the restart')


def refused():
    """ZMQ_EVENT: what libzmq says of it. Nothing is sent: the connection never stands."""
    push = made(zmq.PUSH)
    push.immediate, push.sndtimeo = True, 500
    expected, address = os.environ['ZMQ_EVENT'], place('PUSH', push)
    monitor = push.get_monitor_socket()
    push.connect(address)
    seen = []
    while expected not in seen:
        assert monitor.poll(10_000), seen
        seen.append(zmq.Event(recv_monitor_message(monitor)['event']).name)
    assert 'HANDSHAKE_SUCCEEDED' not in seen, seen
    try:
        push.send(b'secret')
        raise AssertionError('it was sent')
    except zmq.Again:
        pass


globals()[sys.argv[1].replace('-', '_')]()
print('ok')
