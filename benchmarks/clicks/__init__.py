"""Are pairs from clicks better for the correction of position bias? A simulation that knows the truth.

`simulation` makes a log, `rivals` has other estimators, `__main__` measures.
"""
