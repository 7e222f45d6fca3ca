"""Work queues: puts a task for each argument into a durable queue, so that a restart of the broker loses none."""
import sys

import pika

from place import connect

connection = connect()
channel = connection.channel()
channel.queue_declare(queue='tasks', durable=True)
for task in sys.argv[1:]:
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    channel.basic_publish(exchange='', routing_key='tasks', body=task, properties=persistent)
    print(f"queued {task}")
connection.close()
