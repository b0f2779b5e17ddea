"""Documents by row and by id, and filters over their metadata.

Knows texts and metadata; knows nothing of vectors or ranking.
"""
