"""What each route answers: the table from which the document is made. A test holds it against the routes that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.api.documented import house, interactive, review, tasks, work
from orchestrator.api.documented.operations import (
    Described,
    Link,
    done,
    fetched,
    followed,
    shown,
    taken,
    unguarded,
    waited,
)  # fmt: skip
from orchestrator.api.documented.shapes import id_pattern

ID: Final = "$response.body#/id"
OF_FILE: Final = {
    "batch": Link("create_batch", body={"input_file_id": ID, "endpoint": "/v1/chat/completions", "completion_window": "24h"}),
    "estimate": Link("estimate_batch", body={"input_file_id": ID, "endpoint": "/v1/chat/completions"}),
    "object": Link("show_file", {"file_id": ID}),
    "content": Link("file_content", {"file_id": ID}),
    "delete": Link("delete_file", {"file_id": ID}),
}  # fmt: skip
OF_BATCH: Final = {
    "object": Link("show_batch", {"batch_id": ID}),
    "cancel": Link("cancel_batch", {"batch_id": ID}),
    "pause": Link("pause_batch", {"batch_id": ID}),
    "resume": Link("resume_batch", {"batch_id": ID}),
    "retry": Link("retry_batch", {"batch_id": ID}),
    "input": Link("show_file", {"file_id": "$response.body#/input_file_id"}),
    "output": Link("file_content", {"file_id": "$response.body#/output_file_id"}),
    "errors": Link("file_content", {"file_id": "$response.body#/error_file_id"}),
    "next": Link("list_batches", {"after": ID}),
}
OF_JOB: Final = {
    "object": Link("show_job", {"job_id": ID}),
    "cancel": Link("cancel_job", {"job_id": ID}),
    "feedback": Link("give_feedback", {"job_id": ID}, body={"good": True}),
}
OF_REVIEW: Final = {
    "confirm": Link("decide_review", {"review_id": ID}, body={"action": "confirm"}),
    "job": Link("show_job", {"job_id": "$response.body#/job_id"}),
}
OF_ENDPOINT: Final = {
    "object": Link("show_webhook_endpoint", {"endpoint_id": ID}),
    "change": Link("change_webhook_endpoint", {"endpoint_id": ID}),
    "rotate": Link("rotate_webhook_secret", {"endpoint_id": ID}),
    "delete": Link("delete_webhook_endpoint", {"endpoint_id": ID}),
    "deliveries": Link("list_webhook_deliveries", {"endpoint": ID}),
}
FIRST: Final = "$response.body#/data/0/id"
OF_KEY: Final = {"rotate": Link("rotate_key", {"key": ID}), "revoke": Link("revoke_key", {"key": ID})}

ROUTES: Final[Mapping[str, tuple[str, Described]]] = {
    "POST /v1/files": ("create_file", taken(work.File, 429).linked(**OF_FILE)),
    "GET /v1/files": ("list_files", shown(work.FilePage, 404).linked(first=Link("show_file", {"file_id": FIRST}))),
    "GET /v1/files/{file_id}": ("show_file", shown(work.File, 404)),
    "DELETE /v1/files/{file_id}": ("delete_file", done(work.DeletedFile, 404, 409)),
    "GET /v1/files/{file_id}/content": ("file_content", fetched(404, 416)),
    "POST /v1/batches": ("create_batch", taken(work.Batch, 404, 409, 422, 429, once=True).linked(**OF_BATCH)),
    "POST /v1/batches/estimate": ("estimate_batch", taken(work.Estimate, 404, 422)),
    "GET /v1/batches": ("list_batches", shown(work.BatchPage, 404).linked(first=Link("show_batch", {"batch_id": FIRST}))),
    "GET /v1/batches/{batch_id}": ("show_batch", shown(work.Batch, 404)),
    "GET /v1/batches/{batch_id}/events": ("follow_batch", followed(work.Progress, 404)),
    "POST /v1/batches/{batch_id}/cancel": ("cancel_batch", done(work.Batch, 404, 409)),
    "POST /v1/batches/{batch_id}/pause": ("pause_batch", done(work.Batch, 404, 409)),
    "POST /v1/batches/{batch_id}/resume": ("resume_batch", taken(work.Batch, 404, 409)),
    "POST /v1/batches/{batch_id}/retry": ("retry_batch", taken(work.Batch, 404, 409, 422, 429, once=True)),
    "POST /v1/chat/completions": ("create_chat", waited(interactive.ChatCompletion, interactive.Chunk)),
    "POST /v1/completions": ("create_completion", waited(interactive.TextCompletion, interactive.Chunk)),
    "POST /v1/embeddings": ("create_embeddings", waited(interactive.Embeddings)),
    "POST /v1/classify": ("classify", waited(interactive.Classes)),
    "POST /v1/score": ("score", waited(interactive.Scores)),
    "POST /v1/responses": (
        "create_response",
        waited(interactive.ResponseObject, interactive.ResponseEvent).linked(object=Link("show_response", {"response_id": ID})),
    ),
    "GET /v1/responses/{response_id}": ("show_response", shown(interactive.ResponseObject, 404)),
    "GET /v1/models": ("list_models", shown(work.Models)),
    "GET /v1/models/{name}": ("show_model", shown(work.Model, 404)),
    "POST /v1/jobs": ("create_job", taken(work.Job, 402, 404, 409, 422, 429, status=202, once=True).linked(**OF_JOB)),
    "GET /v1/jobs/{job_id}": ("show_job", shown(work.Job, 404, 429)),
    "POST /v1/jobs/{job_id}/feedback": ("give_feedback", taken(work.Feedback, 404, 409)),
    "POST /v1/jobs/{job_id}/cancel": ("cancel_job", done(work.Job, 404, 409)),
    "GET /v1/tasks": ("list_tasks", shown(tasks.Tasks)),
    "POST /v1/tasks": ("define_task", taken(tasks.DefinedTask)),
    "GET /v1/tasks/{task_name}": ("show_task", shown(tasks.Task, 404)),
    "GET /v1/tasks/{task_name}/versions": ("list_task_versions", shown(tasks.Tasks, 404)),
    "POST /v1/documents/known": ("known_documents", taken(tasks.KnownDocuments, 404)),
    "POST /v1/documents/forget": ("forget_document", taken(review.ForgottenDocument, 409, 429)),
    "GET /v1/tasks/{task_name}/reviews": (
        "list_reviews", shown(review.Reviews, 404).linked(first=Link("show_review", {"review_id": FIRST})),
    ),
    "GET /v1/reviews/{review_id}": ("show_review", shown(review.ReviewWithAnswer, 404).linked(**OF_REVIEW)),
    "POST /v1/reviews/{review_id}": ("decide_review", taken(review.ReviewWithAnswer, 404, 409)),
    "GET /v1/batches/{batch_id}/reviewed": ("list_reviewed", shown(review.ReviewedResults, 404)),
    "GET /v1/refusals": ("list_refusals", shown(work.Refusals).linked(first=Link("show_refusal", {"refusal_id": FIRST}))),
    "GET /v1/refusals/{refusal_id}": ("show_refusal", shown(work.RefusedRequest, 404)),
    "POST /v1/explain": ("explain", taken(house.Explanation, 404)),
    "GET /v1/cost": ("show_cost", shown(house.Cost, 404)),
    "GET /v1/cost/machines": ("show_machines", shown(house.Machines, 404)),
    "GET /v1/usage": ("show_usage", shown(house.UsageReport, 404)),
    "GET /v1/prices": ("list_prices", shown(house.Prices)),
    "GET /v1/webhook_event_types": ("list_event_types", shown(house.EventTypes)),
    "POST /v1/webhook_endpoints": (
        "create_webhook_endpoint", taken(house.WebhookEndpointWithSecret, 409).linked(**OF_ENDPOINT),
    ),
    "GET /v1/webhook_endpoints": ("list_webhook_endpoints", shown(house.WebhookEndpoints, 404)),
    "GET /v1/webhook_endpoints/{endpoint_id}": ("show_webhook_endpoint", shown(house.WebhookEndpoint, 404)),
    "POST /v1/webhook_endpoints/{endpoint_id}": ("change_webhook_endpoint", taken(house.WebhookEndpoint, 404)),
    "DELETE /v1/webhook_endpoints/{endpoint_id}": ("delete_webhook_endpoint", done(house.DeletedWebhookEndpoint, 404)),
    "POST /v1/webhook_endpoints/{endpoint_id}/rotate_secret": (
        "rotate_webhook_secret", taken(house.WebhookEndpointWithSecret, 404),
    ),
    "POST /v1/webhook_endpoints/{endpoint_id}/test": ("test_webhook_endpoint", taken(house.WebhookTest, 404, 429)),
    "GET /v1/webhook_deliveries": (
        "list_webhook_deliveries",
        shown(house.Deliveries, 404).linked(replay=Link("replay_webhook_delivery", {"delivery_id": FIRST})),
    ),
    "POST /v1/webhook_deliveries/{delivery_id}/replay": ("replay_webhook_delivery", done(house.Delivery, 404)),
    "GET /v1/tenants": ("list_tenants", shown(house.Tenants)),
    "POST /v1/tenants": ("create_tenant", taken(house.Tenant, 409, status=201)),
    "POST /v1/tenants/{name}": ("change_tenant", taken(house.Tenant, 404, 409)),
    "GET /v1/projects": ("list_projects", shown(house.Projects, 404)),
    "POST /v1/projects": ("create_project", taken(house.Project, 404, 409, status=201)),
    "POST /v1/projects/{name}": ("change_project", taken(house.Project, 404, 409)),
    "GET /v1/keys": ("list_keys", shown(house.Keys, 404)),
    "POST /v1/keys": ("create_key", taken(house.MadeKey, 404, 409, status=201).linked(**OF_KEY)),
    "POST /v1/keys/{key}/rotate": ("rotate_key", taken(house.MadeKey, 404, 409, status=201)),
    "DELETE /v1/keys/{key}": ("revoke_key", done(house.Key, 404, 409)),
    "GET /v1/budgets": ("list_budgets", shown(house.Budgets, 404)),
    "PUT /v1/budgets": ("set_budget", taken(house.Budgets, 404, 409)),
    "GET /v1/quotas": ("list_quotas", shown(house.Quotas, 404)),
    "PUT /v1/quotas": ("set_quota", taken(house.Quotas, 404, 409)),
    "GET /v1/audit": ("list_acts", shown(house.Acts, 404)),
    "GET /livez": ("livez", unguarded(house.Alive)),
    "GET /readyz": ("readyz", unguarded(house.Ready, also=(503,))),
    "GET /metrics": ("metrics", unguarded(None, media="text/plain")),
}  # fmt: skip
"""By method and path: the operation's id, and what it answers."""

PATHS: Final[Mapping[str, dict[str, Any]]] = {
    **{
        name: {"type": "string", "pattern": id_pattern(kind)}
        for name, kind in (
            ("file_id", "file"), ("batch_id", "batch"), ("response_id", "resp"), ("endpoint_id", "we"), ("delivery_id", "msg"),
            ("review_id", "review"),
        )
    },
    "job_id": {
        "type": "string", "minLength": 1, "maxLength": 300,
        "description": "`job_` and 32 hexadecimal digits, or `celery:` and the id of the task that handed it in.",
    },
    "name": {"type": "string", "minLength": 1, "maxLength": 128, "description": "A name or an id."},
    "task_name": {"type": "string", "minLength": 1, "maxLength": 128, "description": "The name of a task."},
    "key": {"type": "string", "minLength": 1, "maxLength": 128, "description": "A key's id, or its name where one key has it."},
}  # fmt: skip
"""What stands in paths, by name."""
HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "Idempotency-Key": {
        "description": "The same key with the same request gives the same answer; with another request, a 409.",
        "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
    },
    "Range": {"description": "One range of bytes, such as `bytes=0-999`.", "schema": {"type": "string"}},
}
"""What stands in headers of requests, by name."""
