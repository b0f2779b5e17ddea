"""A trained model on disk and its encoder in numpy: config, weights, folder.

Knows model folders and how to encode with them; imports no torch and knows nothing of training.
"""
