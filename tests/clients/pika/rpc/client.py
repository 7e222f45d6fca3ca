"""Remote procedure calls: asks for the Fibonacci number of each argument and prints the answers."""
import sys
import uuid

import pika

from place import connect

connection = connect()
channel = connection.channel()
replies = channel.queue_declare(queue='', exclusive=True).method.queue
answers = {}


def on_reply(channel, method, properties, body):
    answers[properties.correlation_id] = int(body)


channel.basic_consume(queue=replies, on_message_callback=on_reply, auto_ack=True)
for n in sys.argv[1:]:
    call = str(uuid.uuid4())
    properties = pika.BasicProperties(reply_to=replies, correlation_id=call)
    channel.basic_publish(exchange='', routing_key='rpc', body=n, properties=properties)
    while call not in answers:
        connection.process_data_events(time_limit=5)
    print(f"fibonacci({n}) is {answers[call]}", flush=True)
connection.close()
