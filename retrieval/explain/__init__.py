"""Explanations of a match: the share of each word in the cosine, LSTM states, keywords and heat maps.

Knows one query and at most one document at a time; knows nothing of ranking.
"""
