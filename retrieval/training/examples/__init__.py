"""What is learned from: a data set as texts, then as arrays, pairs and batches, to the input of a step.

Knows texts, their numbers and which pairs stand together; knows nothing of losses, epochs or the dev index.
"""
