"""The towers as torch modules: LSTM-DSSM, CNN-DSSM, DSSM and a bag of trigrams.

Knows tensors; knows nothing of training data, losses or indexes. Search uses `retrieval.model.encoder`.
"""
