"""The processes that run jobs: a Celery app, the execute pipeline and the engines that talk to models."""
