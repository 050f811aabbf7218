"""Posts CloudEvents built by the PyPI package `cloudevents`: structured, binary and a batch.

Prints one event id per accepted event, in order. Any other answer ends it with a message and exit code 1.
"""
import json
import os
import sys
import urllib.error
import urllib.request
from datetime import datetime, timezone

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

BASE = os.environ["INGEST"]
TOKEN = os.environ["TOKEN"]


def event(name):
    return CloudEvent(
        {
            "id": name,
            "source": "/tests/interop",
            "type": "AML_MONITORING",
            "specversion": "1.0",
            "time": datetime.now(timezone.utc),
            "datacontenttype": "application/json",
        },
        {"scanRef": name, "note": "from the CloudEvents SDK"},
    )


def post(path, headers, body):
    headers = {**headers, "authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(BASE + path, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as refusal:
        sys.exit(f"{path}: {refusal.code} {refusal.read().decode(errors='replace')}")


def accepted(answer, what):
    if not str(answer.get("id", "")).startswith("evt_"):
        sys.exit(f"{what}: no event id in {answer}")
    print(answer["id"])


def single(name, message):
    status, body = post("/v1/events", dict(message.headers), message.body)
    if status != 202:
        sys.exit(f"{name}: {status}")
    answer = json.loads(body)
    accepted(answer, name)
    return answer


structured = to_structured_event(event("ce-structured"))
first = single("structured", structured)
single("binary", to_binary_event(event("ce-binary")))

# source + id are the idempotency key: the same event again must be the same event.
_, body = post("/v1/events", dict(structured.headers), structured.body)
again = json.loads(body)
if again["id"] != first["id"] or again.get("duplicate") is not True:
    sys.exit(f"the same CloudEvent twice: {first} then {again}")

# The SDK has no batch call; its own JSON of each event, in the array the specification asks for.
batch = b"[" + b",".join(JSONFormat().write(event(f"ce-batch-{n}")) for n in (1, 2, 3)) + b"]"
status, body = post("/v1/events/batch", {"content-type": "application/cloudevents-batch+json"}, batch)
try:
    answers = json.loads(body)
    answers = answers if isinstance(answers, list) else [answers]
except json.JSONDecodeError:
    answers = [json.loads(line) for line in body.splitlines() if line.strip()]
if len(answers) != 3:
    sys.exit(f"batch: {status}, {len(answers)} results for 3 events: {body!r}")
for answer in answers:
    accepted(answer, "batch")
