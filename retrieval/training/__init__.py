"""From a data set to a trained model: pairs, batches, loss, distillation, the loop, checkpoints, the report.

Knows torch and the towers; knows nothing of indexes beyond BM25 on dev.
"""
