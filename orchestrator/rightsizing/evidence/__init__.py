"""What is known of a task: facts, quality by its source, labels, and the past."""
