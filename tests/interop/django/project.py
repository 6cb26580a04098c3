"""One process of a Django project that uses django-outbox-pattern and django-stomp.

It gets one JSON argument, does one thing, and writes one line of JSON with what it saw. What it
uses is found by name: it is installed for this process only.
"""

import json
import queue
import sys
from importlib import import_module
from typing import Any

TASK = json.loads(sys.argv[1])
TOPIC = "/topic/orders.v1"


def set_up() -> None:
    """Configure the project, and make its tables."""
    import_module("django.conf").settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": TASK["database"]}},
        INSTALLED_APPS=["django_outbox_pattern"],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        DJANGO_OUTBOX_PATTERN={
            "DEFAULT_STOMP_HOST_AND_PORTS": [("127.0.0.1", TASK["port"])],
            "DEFAULT_PRODUCER_WAITING_TIME": 0,
        },
        STOMP_SERVER_HOST="127.0.0.1",
        STOMP_SERVER_PORT=TASK["port"],
        STOMP_CORRELATION_ID_REQUIRED=False,
    )
    import_module("django").setup()
    import_module("django.core.management").call_command("migrate", verbosity=0)


def publish() -> object:
    """Have the outbox publish what is written into its table."""
    published = import_module("django_outbox_pattern.models").Published
    published.objects.create(destination=TOPIC, body=TASK["body"])
    producer = import_module("django_outbox_pattern.factories").factory_producer()
    producer.publish_message_from_database()
    return published.objects.latest("id").get_status_display()


def consume() -> object:
    """Take so many messages as a consumer of the outbox, and stop."""
    taken: queue.Queue[object] = queue.Queue()

    def callback(payload: Any) -> None:
        taken.put(payload.body)
        if TASK.get("fails"):
            raise ValueError("cannot handle it")
        payload.save()

    consumer = import_module("django_outbox_pattern.factories").factory_consumer()
    consumer.start(callback, TOPIC, "billing")
    bodies = [taken.get(timeout=10) for _ in range(TASK["count"])]
    consumer.stop()
    return bodies


def listen() -> object:
    """Take so many messages as a listener of django-stomp, and stop."""
    taken: queue.Queue[object] = queue.Queue()

    def callback(payload: Any) -> None:
        payload.ack()
        taken.put(payload.body)

    listener = import_module("django_stomp.builder").build_listener(
        TASK["destination"],
        TASK["durable"],
        client_id="billing",
        should_process_msg_on_background=False,
    )
    listener.start(callback, wait_forever=False)
    bodies = [taken.get(timeout=10) for _ in range(TASK["count"])]
    listener.close()
    return bodies


def send() -> object:
    """Send a message by django-stomp's publisher, in a transaction."""
    producing = import_module("django_stomp.services.producer")
    publisher = import_module("django_stomp.builder").build_publisher("shop")
    with (
        producing.auto_open_close_connection(publisher),
        producing.do_inside_transaction(publisher),
    ):
        publisher.send(queue=TASK["destination"], body=TASK["body"], attempt=1)
    return "sent"


ACTS = {"publish": publish, "consume": consume, "listen": listen, "send": send}

set_up()
sys.stdout.write(json.dumps(ACTS[TASK["act"]]()) + "\n")
