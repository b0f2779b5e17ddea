"""Learning from clicks beside an index that is served, and going back.

`pairs` makes training data from a click log and the index. `doubts` looks for reasons not to trust the log.
`candidate` encodes the documents again. `comparison` decides. `learn` runs all of these, and `rollback`
undoes the result. Knows nothing of HTTP. Only `learn` needs torch.
"""
