"""Metrics over whole sets: independent of batch size, computed in float64."""
