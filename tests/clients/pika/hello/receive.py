"""Hello world, the receiving half: prints what comes to the queue `hello`, until interrupted."""
import pika

connection = pika.BlockingConnection(pika.ConnectionParameters('localhost'))
channel = connection.channel()
channel.queue_declare(queue='hello')


def on_message(channel, method, properties, body):
    print(f"received {body.decode()!r}", flush=True)


channel.basic_consume(queue='hello', on_message_callback=on_message, auto_ack=True)
print("waiting", flush=True)
channel.start_consuming()
