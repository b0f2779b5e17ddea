"""What is fitted when training ends: the weight of dense search, re-scoring, the probability of hits.

Knows an index of the dev documents and the rankings of the dev queries; knows nothing of epochs and steps.
"""
