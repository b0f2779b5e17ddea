"""A data set that every Python installation has: docstrings and their summary lines.

Knows Python source; knows nothing of models or indexes.
"""
