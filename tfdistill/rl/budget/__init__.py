"""A team under a budget: record, environment, baselines, training, report, deployment."""
