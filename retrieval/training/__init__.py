"""From a data set to a trained model: pairs, batches, loss, distillation, the loop, checkpoints, the report.

Knows torch and the towers. Of the index it knows only BM25, for hybrid search on dev.
"""
