"""Agents in Ray workers. Ray is imported when the first of them starts."""
