"""Remote procedure calls: answers with the Fibonacci number asked for, to the queue the caller named."""
import pika

from place import connect


def fibonacci(n):
    now, following = 0, 1
    for _ in range(n):
        now, following = following, now + following
    return now


connection = connect()
channel = connection.channel()
channel.queue_declare(queue='rpc')
channel.basic_qos(prefetch_count=1)


def on_request(channel, method, request, body):
    answer = pika.BasicProperties(correlation_id=request.correlation_id)
    channel.basic_publish(
        exchange='', routing_key=request.reply_to, body=str(fibonacci(int(body))), properties=answer
    )
    channel.basic_ack(delivery_tag=method.delivery_tag)


channel.basic_consume(queue='rpc', on_message_callback=on_request)
print("waiting", flush=True)
channel.start_consuming()
