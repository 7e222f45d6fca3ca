"""Publish and subscribe: a queue of its own, named by the broker and gone with the connection, gets every log line."""
from place import connect

connection = connect()
channel = connection.channel()
channel.exchange_declare(exchange='logs', exchange_type='fanout')
queue = channel.queue_declare(queue='', exclusive=True).method.queue
channel.queue_bind(exchange='logs', queue=queue)
channel.basic_consume(
    queue=queue, on_message_callback=lambda c, m, p, body: print(f"log {body.decode()}", flush=True), auto_ack=True
)
print("waiting", flush=True)
channel.start_consuming()
