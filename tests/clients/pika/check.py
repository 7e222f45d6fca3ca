"""check.py STEP   what every client is tried for: deliver, confirm, transaction, refused-login, refused-queue. Prints ok at the end."""
import sys
import uuid

import pika

from place import connect


def deliver():
    connection = connect()
    channel = connection.channel()
    queue = channel.queue_declare(queue='', exclusive=True).method.queue
    channel.basic_qos(prefetch_count=10)
    sent = [f'message {number}' for number in range(100)]
    for text in sent:
        properties = pika.BasicProperties(content_type='text/plain', headers={'n': 1, 'list': ['a', True, None]})
        channel.basic_publish('', queue, text, properties)
    received = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=10):
        assert method is not None, f'only {len(received)} messages came'
        assert properties.headers == {'n': 1, 'list': ['a', True, None]}, properties.headers
        received.append(body.decode())
        channel.basic_ack(method.delivery_tag)
        if len(received) == len(sent):
            break
    assert received == sent, received
    connection.close()


def confirm():
    connection = connect()
    channel = connection.channel()
    queue = f'pika-{uuid.uuid4()}'
    channel.queue_declare(queue=queue, durable=True)
    channel.confirm_delivery()
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    for number in range(20):
        channel.basic_publish('', queue, str(number), persistent, mandatory=True)
    try:
        channel.basic_publish('', 'nowhere-at-all', 'lost', mandatory=True)
        raise AssertionError('an unroutable message was not returned')
    except pika.exceptions.UnroutableError as returned:
        assert returned.messages[0].method.reply_code == 312
    assert channel.queue_delete(queue).method.message_count == 20
    connection.close()


def transaction():
    connection = connect()
    channel = connection.channel()
    queue = channel.queue_declare(queue='', exclusive=True).method.queue
    channel.tx_select()
    channel.basic_publish('', queue, 'rolled back')
    channel.tx_rollback()
    for number in range(10):
        channel.basic_publish('', queue, str(number))
    assert channel.queue_declare(queue, passive=True).method.message_count == 0
    channel.tx_commit()
    for number in range(10):
        method, _, body = channel.basic_get(queue)
        assert body == str(number).encode(), body
        channel.basic_ack(method.delivery_tag)
    channel.tx_rollback()
    channel.basic_ack(method.delivery_tag, multiple=True)
    channel.basic_publish('', queue, 'with the acknowledgements')
    channel.tx_commit()
    channel.close()
    assert connection.channel().queue_delete(queue).method.message_count == 1
    connection.close()


def refused_login():
    try:
        connect(credentials=pika.PlainCredentials('guest', 'wrong'))
        raise AssertionError('a wrong password was accepted')
    except pika.exceptions.ProbableAuthenticationError as refused:
        assert '403' in str(refused) and 'ACCESS_REFUSED' in str(refused), refused


def refused_queue():
    connection = connect()
    channel = connection.channel()
    queue = f'pika-{uuid.uuid4()}'
    channel.queue_declare(queue=queue, durable=True)
    try:
        channel.queue_declare(queue=queue, durable=True, auto_delete=True)
        raise AssertionError('an inequivalent queue was accepted')
    except pika.exceptions.ChannelClosedByBroker as refused:
        assert refused.reply_code == 406 and "inequivalent arg 'auto_delete'" in refused.reply_text, refused
    connection.channel().queue_delete(queue)
    connection.close()


steps = {
    'deliver': deliver,
    'confirm': confirm,
    'transaction': transaction,
    'refused-login': refused_login,
    'refused-queue': refused_queue,
}
steps[sys.argv[1]]()
print('ok')
