"""Late interaction: the words of documents as vectors, to compare with the words of a query.

Knows words as vectors and numbers; knows nothing of models or of what the comparison is for.
"""
