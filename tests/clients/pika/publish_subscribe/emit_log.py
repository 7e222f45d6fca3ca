"""Publish and subscribe: one log line to whoever listens now."""
import sys

from place import connect

connection = connect()
channel = connection.channel()
channel.exchange_declare(exchange='logs', exchange_type='fanout')
channel.basic_publish(exchange='logs', routing_key='', body=' '.join(sys.argv[1:]))
connection.close()
