"""Routing: a log line with its severity as the routing key."""
import sys

from place import connect

severity, text = sys.argv[1], ' '.join(sys.argv[2:])
connection = connect()
channel = connection.channel()
channel.exchange_declare(exchange='direct_logs', exchange_type='direct')
channel.basic_publish(exchange='direct_logs', routing_key=severity, body=text)
connection.close()
