"""What is advised for a task, what was saved, and the page that tells it."""
