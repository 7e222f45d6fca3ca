"""Topics: a log line with a key of several words, like kern.critical."""
import sys

from place import connect

key, text = sys.argv[1], ' '.join(sys.argv[2:])
connection = connect()
channel = connection.channel()
channel.exchange_declare(exchange='topic_logs', exchange_type='topic')
channel.basic_publish(exchange='topic_logs', routing_key=key, body=text)
connection.close()
