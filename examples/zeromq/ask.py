# Ask a question with ZeroMQ's REQ; whoever consumes the queue `questions` answers, here worker.js over AMQP.
#   pip install pyzmq && python ask.py 6 7
import os
import sys

import zmq

address = os.environ.get("ZMQ_ASK", "tcp://127.0.0.1:5556")
request = zmq.Context.instance().socket(zmq.REQ)
request.setsockopt(zmq.RCVTIMEO, 15_000)  # REQ itself would wait for ever
request.setsockopt(zmq.LINGER, 0)
request.connect(address)
request.send_string(" ".join(sys.argv[1:]))
reply = request.recv()
print("answer", reply.decode() if reply else "none: nobody has answered in time")
