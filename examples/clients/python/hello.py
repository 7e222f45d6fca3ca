# Publish a message and wait for its confirm; consume and acknowledge it.
#   pip install pika && python hello.py
import os

import pika

url = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f")
with pika.BlockingConnection(pika.URLParameters(url)) as connection:
    channel = connection.channel()
    channel.queue_declare("hello-python", durable=True)

    channel.confirm_delivery()  # from here on basic_publish returns when the message is on disk
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    channel.basic_publish("", "hello-python", b"hello", persistent)
    print("confirmed")

    for delivery, _, body in channel.consume("hello-python"):
        print("received", body.decode())
        channel.basic_ack(delivery.delivery_tag)
        break
    channel.cancel()
