"""Run a batch with the official `openai` client: python examples/submit_openai.py [FILE.jsonl]

Before: `rightsize up --port 8080`; then set OPENAI_BASE_URL=http://127.0.0.1:8080/v1 and OPENAI_API_KEY
(`rightsize keys create --name me` prints one).
"""

import sys
import time
from pathlib import Path

from openai import OpenAI

client = OpenAI()  # base URL and key come from the environment
path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("demo.jsonl")
uploaded = client.files.create(file=path, purpose="batch")
batch = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
while batch.status not in {"completed", "failed", "expired", "cancelled"}:
    time.sleep(1)
    batch = client.batches.retrieve(batch.id)
    print(batch.status, batch.request_counts, file=sys.stderr)
for problem in (batch.errors.data if batch.errors else None) or []:
    print(f"line {problem.line}: {problem.message}", file=sys.stderr)
for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
    print(client.files.content(file_id).text, end="")
