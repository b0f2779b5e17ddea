"""A trained model on disk and its encoder in numpy: config, weights and model folder.

Imports no torch and knows nothing of training.
"""
