"""How agents run: executors, the queue of their work, retries, and statistics."""
