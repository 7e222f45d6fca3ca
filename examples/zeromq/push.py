# Push numbered jobs into a durable queue, at least once, while the broker may restart at any time.
#   pip install pyzmq && python push.py 10000
#
# ZMTP has no acknowledgements: what is in the buffers between this program and the broker's disk when the connection
# breaks is gone, and nobody tells. So the last jobs are kept here, and sent again after each new connection: twice
# rather than never. How many that must be follows from the buffers on the way: TAIL octets are more than they hold.
import collections
import os
import sys
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

address = os.environ.get("ZMQ_PUSH", "tcp://127.0.0.1:5555")
count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
TAIL = 8 * 1024 * 1024

push = zmq.Context.instance().socket(zmq.PUSH)
push.setsockopt(zmq.SNDHWM, 100)
push.setsockopt(zmq.RECONNECT_IVL, 100)
push.setsockopt(zmq.LINGER, -1)  # the end waits until everything is on its way
monitor = push.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
push.connect(address)

tail, octets, connections = collections.deque(), 0, 0


def repeat_after_a_new_connection():
    global connections
    while monitor.poll(0):
        recv_monitor_message(monitor)
        connections += 1
        if connections > 1:
            print(f"connected again: the last {len(tail)} jobs are sent once more", flush=True)
            for job in list(tail):
                push.send(job)


for number in range(count):
    job = b"job %d" % number
    repeat_after_a_new_connection()
    push.send(job)  # waits while the broker is away, or is behind
    tail.append(job)
    octets += len(job)
    while octets > TAIL:
        octets -= len(tail.popleft())
    if number == count // 2:
        print(f"pushed {number + 1}", flush=True)
    time.sleep(0.0001)

# The last ones have no successors that would show a broken connection: a moment for that.
end = time.monotonic() + 2
while time.monotonic() < end:
    repeat_after_a_new_connection()
    time.sleep(0.05)
print(f"pushed {count}", flush=True)
push.disable_monitor()
push.close()
