# Publish prices with ZeroMQ's PUB: the first frame is the topic.
#   pip install pyzmq && python ticks.py
import itertools
import os
import time

import zmq

publisher = zmq.Context.instance().socket(zmq.PUB)
publisher.connect(os.environ.get("ZMQ_TICKS_IN", "tcp://127.0.0.1:5557"))
print("publishing", flush=True)
for number in itertools.count():
    for topic in (b"EUR/USD", b"EUR/CHF", b"USD/JPY"):
        publisher.send_multipart([topic, b"%d" % number])
    time.sleep(0.02)
