"""From a data set to a trained model. `train` says the order of it all, `loop` what a step and an epoch are.

`examples` holds what is learned from, `fitting` what is fitted on the dev queries when the epochs are over.
Knows torch and the towers. Only `fitting` knows indexes.
"""
