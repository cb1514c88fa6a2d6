"""Several agents that answer one request together: plan, messages, policy, budget."""
