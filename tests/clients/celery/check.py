"""Celery with its own worker process: check.py STEP; AMQP_HOST and AMQP_PORT say where the broker is. The last line is `ok`."""

import os
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

WAIT = 20
KINDS = {"priority": "priority", "quorum": "quorum"}


@contextmanager
def worker(pool="solo"):
    """A stock worker of the queue, from its first answer to a ping until the end of the block."""
    name = f"{uuid.uuid4().hex}@here"
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-n", name, "-Q", os.environ["QUEUE"]]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--pool", pool, "--concurrency", "2", "--loglevel", "INFO"],
            cwd=os.path.dirname(__file__), stdout=log, stderr=log,
        )
        try:
            until(lambda: process.poll() is not None or tasks.app.control.ping([name], timeout=0.5))
            assert process.poll() is None, "the worker ended"
            yield process
        except BaseException:
            log.seek(0)
            print(log.read().decode(), file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(WAIT)


def until(condition):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def results():
    from celery import chain, group

    with worker(pool="prefork"):
        assert tasks.add.delay(2, 3).get(timeout=WAIT) == 5
        assert group(tasks.add.s(n, n) for n in range(20))().get(timeout=WAIT) == [2 * n for n in range(20)]
        assert chain(tasks.add.s(1, 2), tasks.add.s(10))().get(timeout=WAIT) == 13


def later():
    """Tasks that wait do not keep the worker from one that is due."""
    with worker():
        far = [tasks.now.apply_async(countdown=600) for _ in range(4)]
        began = time.time()
        assert tasks.now.apply_async(countdown=1).get(timeout=WAIT) >= began + 1
        eta = datetime.now(timezone.utc) + timedelta(seconds=1)
        assert tasks.now.apply_async(eta=eta).get(timeout=WAIT) >= eta.timestamp()
        for task in far:
            task.forget()


def retries():
    with worker():
        assert tasks.succeeds_on_the_third_attempt.delay().get(timeout=WAIT) == 2


def redelivery():
    with tempfile.TemporaryDirectory() as folder:
        marker = os.path.join(folder, "begun")
        with worker() as first:
            result = tasks.slow_at_first.delay(marker)
            until(lambda: os.path.exists(marker))
            first.kill()
            first.wait(WAIT)
        with worker():
            assert result.get(timeout=WAIT) is True


def priority():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "order")
        for number in [1, 5, 0, 9, 3]:
            tasks.note.apply_async((path, number), priority=number)
        with worker():
            assert tasks.add.apply_async((1, 1), priority=0).get(timeout=WAIT) == 2
        with open(path, encoding="utf-8") as file:
            assert file.read().split() == ["9", "5", "3", "1", "0"]


def quorum():
    """Tasks that wait go by way of the delayed delivery that Celery has for quorum queues: time to live and dead letters."""
    with worker():
        assert tasks.add.delay(2, 3).get(timeout=WAIT) == 5
        began = time.time()
        assert tasks.now.apply_async(countdown=2).get(timeout=WAIT) >= began + 1


STEPS = {step.__name__: step for step in [results, later, retries, redelivery, priority, quorum]}

if __name__ == "__main__":
    os.environ["QUEUE"] = f"celery-{uuid.uuid4().hex}"
    os.environ["KIND"] = KINDS.get(sys.argv[1], "plain")
    import tasks

    STEPS[sys.argv[1]]()
    print("ok")
