"""The whole service with nothing but the official `openai` client: python examples/service_openai.py

Uploads, estimates, batches, receives a webhook, streams, cancels, and runs what was not done once more one tier up.

Before: `RIGHTSIZE_WEBHOOK_NETWORKS=127.0.0.0/8 rightsize up --port 8080` (the receiver below listens on this machine); then set
OPENAI_BASE_URL=http://127.0.0.1:8080/v1 and OPENAI_API_KEY (`rightsize keys create --name me` prints one).
"""

import json
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from openai import OpenAI

CHAT = "/v1/chat/completions"
ENDED = {"completed", "failed", "expired", "cancelled"}
LONG = 600  # rows: more than are done before the batch is cancelled
client = OpenAI()  # base URL and key come from the environment
events = queue.Queue()


class Receiver(BaseHTTPRequestHandler):
    """Takes webhooks; `main` verifies the one that it waits for, as a real receiver does with each."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        events.put((dict(self.headers.items()), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def row(number, **body):
    """One row of a batch. Rows may name different models and tiers; `auto` asks the decision tree for each."""
    messages = [{"role": "user", "content": f"Where is parcel {number}?"}]
    return {"custom_id": f"row-{number}", "method": "POST", "url": CHAT, "body": {"messages": messages, **body}}


def upload(rows):
    """An input file of rows."""
    content = b"".join(json.dumps(one).encode() + b"\n" for one in rows)
    return client.files.create(file=("rows.jsonl", content), purpose="batch")


def wait(batch):
    """The batch once it has ended."""
    while batch.status not in ENDED:
        time.sleep(0.3)
        batch = client.batches.retrieve(batch.id)
    return batch


def main():
    """Walk through the service."""
    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    hook = client.webhooks.create(
        name="example", url=f"http://127.0.0.1:{receiver.server_port}/", event_types=["batch.completed"]
    )

    rows = [row(n, model="auto") for n in range(8)] + [row(8, model="slm"), row(9, model="rlm")]
    file = upload(rows)
    estimate = client.post(
        "/batches/estimate", body={"input_file_id": file.id, "rightsize": {"on_invalid_row": "report"}}, cast_to=object
    )
    cost = estimate["total"]["cost_usd"]
    print(f"estimate: ${cost['expected']} (80%: ${cost['low']} to ${cost['high']}) for {estimate['rows']} rows")

    batch = wait(
        client.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"team": "parcels"},
            extra_body={"rightsize": {"on_invalid_row": "report", "max_cost_usd": "5"}},
        )
    )  # fmt: skip
    ours = batch.rightsize
    print(
        f"batch: {batch.status}, {batch.request_counts.completed} of {batch.request_counts.total}, cost ${ours['cost_usd']}"
    )
    print("tiers: " + ", ".join(f"{tier} {one['completed']}" for tier, one in ours["tiers"].items()))

    headers, body = events.get(timeout=30)
    event = client.webhooks.unwrap(body, headers, secret=hook.signing_secret)
    print(f"webhook: {event.type} of {event.data.id}")

    stream = client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Say hello."}], stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    print(f"stream: {text[:40]!r}")

    long = client.batches.create(
        input_file_id=upload(row(n, model="slm") for n in range(LONG)).id, endpoint=CHAT, completion_window="24h"
    )
    while long.status == "validating":
        time.sleep(0.1)
        long = client.batches.retrieve(long.id)
    stopped = wait(client.batches.cancel(long.id))
    print(f"cancel: {stopped.status}, {stopped.request_counts.completed} of {LONG} were done")

    again = client.post(f"/batches/{stopped.id}/retry", body={"tier": "up"}, cast_to=object)
    second = wait(client.batches.retrieve(again["id"]))
    merged = client.files.content(second.rightsize["merged_output_file_id"]).text.splitlines()
    print(
        f"retry: {second.request_counts.completed} on {' and '.join(second.rightsize['tiers'])}; both outputs have {len(merged)} rows"
    )
    client.webhooks.delete(hook.id)


if __name__ == "__main__":
    main()
