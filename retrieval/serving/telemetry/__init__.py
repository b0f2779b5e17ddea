"""What a server tells of itself and of its use: the log, the metrics, the click log.

Knows numbers, lines and files; knows nothing of requests.
"""
