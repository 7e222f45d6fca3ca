# Subscribe to prices with ZeroMQ's SUB: what begins with EUR, five of them.
#   pip install pyzmq && python watch.py EUR
import os
import sys

import zmq

subscriber = zmq.Context.instance().socket(zmq.SUB)
subscriber.setsockopt(zmq.RCVTIMEO, 15_000)
subscriber.setsockopt_string(zmq.SUBSCRIBE, sys.argv[1] if len(sys.argv) > 1 else "EUR")
subscriber.connect(os.environ.get("ZMQ_TICKS_OUT", "tcp://127.0.0.1:5558"))
for _ in range(5):
    topic, price = subscriber.recv_multipart()
    print(topic.decode(), price.decode(), flush=True)
