"""The peephole recurrence in compiled loops, for training and for encoding.

Knows numpy arrays; knows nothing of torch or texts. Importing its modules needs numba.
"""
