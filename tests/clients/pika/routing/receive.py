"""Routing: only the severities named on the command line."""
import sys

from place import connect

connection = connect()
channel = connection.channel()
channel.exchange_declare(exchange='direct_logs', exchange_type='direct')
queue = channel.queue_declare(queue='', exclusive=True).method.queue
for severity in sys.argv[1:]:
    channel.queue_bind(exchange='direct_logs', queue=queue, routing_key=severity)


def on_line(channel, method, properties, body):
    print(f"{method.routing_key} {body.decode()}", flush=True)


channel.basic_consume(queue=queue, on_message_callback=on_line, auto_ack=True)
print("waiting", flush=True)
channel.start_consuming()
