"""The peephole LSTM layer: forward and backward over a ragged batch, in plain torch and in compiled loops.

Knows gates and cells; knows nothing of words or towers.
"""
