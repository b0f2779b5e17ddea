"""A data set made from the docstrings of a Python installation and their summary lines.

Knows Python source; knows nothing of models or indexes.
"""
