"""How good is a model of few training pairs? Draws of pairs, curves over their number, weights of a prior.

`draws` makes data sets of few pairs and their models, `__main__` measures, `picture` draws the curves,
`prior` fits the weights that re-scoring starts from (`retrieval.training.fitting.linear`).
"""
