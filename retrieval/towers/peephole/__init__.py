"""The peephole LSTM layer over a ragged batch, forward and backward, in plain torch and in compiled loops.

Knows gates and cells; knows nothing of words or towers.
"""
