"""Why a document matched: each word's share of the cosine, LSTM states, keywords, heat maps.

Knows one query and one document at a time; knows nothing of ranking.
"""
