"""Where the broker is: AMQP_HOST and AMQP_PORT, by default localhost:5672."""
import os

import pika


def connect(**parameters):
    host, port = os.environ.get('AMQP_HOST', 'localhost'), int(os.environ.get('AMQP_PORT', 5672))
    return pika.BlockingConnection(pika.ConnectionParameters(host, port, **parameters))
