"""Hello world, the sending half: one message through the default exchange to the queue `hello`."""
import pika

connection = pika.BlockingConnection(pika.ConnectionParameters('localhost'))
channel = connection.channel()
channel.queue_declare(queue='hello')
channel.basic_publish(exchange='', routing_key='hello', body='Hello World!')
print("sent 'Hello World!'")
connection.close()
