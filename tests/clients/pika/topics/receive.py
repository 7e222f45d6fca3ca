"""Topics: the lines whose keys match one of the patterns on the command line."""
import sys

from place import connect

connection = connect()
channel = connection.channel()
channel.exchange_declare(exchange='topic_logs', exchange_type='topic')
queue = channel.queue_declare(queue='', exclusive=True).method.queue
for pattern in sys.argv[1:]:
    channel.queue_bind(exchange='topic_logs', queue=queue, routing_key=pattern)


def on_line(channel, method, properties, body):
    print(f"{method.routing_key} {body.decode()}", flush=True)


channel.basic_consume(queue=queue, on_message_callback=on_line, auto_ack=True)
print("waiting", flush=True)
channel.start_consuming()
