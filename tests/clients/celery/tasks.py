"""The application of check.py: the tasks, as a worker and its clients import them."""

import os
import time

from celery import Celery
from kombu import Queue

ADDRESS = f"{os.environ['AMQP_HOST']}:{os.environ['AMQP_PORT']}"
QUEUE = os.environ["QUEUE"]
ARGUMENTS = {
    "plain": {},
    "priority": {"x-max-priority": 10},
    "quorum": {"x-queue-type": "quorum"},
}[os.environ.get("KIND", "plain")]

app = Celery("tasks", broker=f"pyamqp://guest:guest@{ADDRESS}//", backend="rpc://")
app.conf.update(
    task_default_queue=QUEUE,
    task_default_exchange=QUEUE,
    task_default_exchange_type="topic",
    task_default_routing_key=QUEUE,
    task_queues=[Queue(QUEUE, routing_key=QUEUE, queue_arguments=ARGUMENTS)],
    broker_connection_retry_on_startup=False,
    broker_transport_options={"confirm_publish": True},
    worker_detect_quorum_queues=True,
    worker_prefetch_multiplier=1 if ARGUMENTS else 4,
    result_expires=60,
)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def now():
    return time.time()


@app.task(bind=True, max_retries=3)
def succeeds_on_the_third_attempt(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return self.request.retries


@app.task(bind=True, acks_late=True)
def slow_at_first(self, marker):
    """Hangs unless a worker has begun it before: that one was killed."""
    if not os.path.exists(marker):
        with open(marker, "w", encoding="utf-8"):
            pass
        time.sleep(600)
    return self.request.delivery_info["redelivered"]


@app.task
def note(path, word):
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{word}\n")
