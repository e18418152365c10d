"""What the doctor looks at beside servers, schema, workers and invariants. `orchestrator/doctor.py` puts it all together."""
