"""The HTTP API: OpenAI's files, batches and chat, and our own jobs, explain and cost."""
