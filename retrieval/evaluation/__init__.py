"""Measurement of retrieval systems: measures, runs, significance, comparison, speed, reports.

Knows runs and qrels; knows nothing of how a model is trained.
"""
