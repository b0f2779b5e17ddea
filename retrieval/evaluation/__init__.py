"""How good and how fast a retrieval system is: measures, runs, significance, comparison, reports.

Knows runs and qrels; knows nothing of how a model is trained.
"""
