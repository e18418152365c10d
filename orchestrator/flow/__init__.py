"""A job's path, one verb a file: submit, admit, read, dispatch, claim, lease, record, recover, cancel, finish."""
