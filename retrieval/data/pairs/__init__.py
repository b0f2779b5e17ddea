"""A data set made from a table whose rows hold a query and a document that answers it.

Knows the usual names of columns and how rows are joined; knows nothing of words or models.
"""
