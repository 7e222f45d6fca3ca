"""Work queues: takes one task at a time, works for as many tenths of a second as it has dots, acknowledges it then.

With an argument it leaves its first task unfinished and breaks off, which hands the task to another worker.
"""
import os
import sys
import time

from place import connect

connection = connect()
channel = connection.channel()
channel.queue_declare(queue='tasks', durable=True)
channel.basic_qos(prefetch_count=1)


def on_task(channel, method, properties, body):
    if len(sys.argv) > 1:
        print(f"dropped {body.decode()}", flush=True)
        os._exit(1)
    time.sleep(body.count(b'.') / 10)
    again = ' again' if method.redelivered else ''
    print(f"done {body.decode()}{again}", flush=True)
    channel.basic_ack(delivery_tag=method.delivery_tag)


channel.basic_consume(queue='tasks', on_message_callback=on_task)
print("waiting", flush=True)
channel.start_consuming()
