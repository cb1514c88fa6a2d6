"""Magnitude pruning: masks, patterns, schedules."""
