"""Learning from clicks beside an index that is served, and going back.

`pairs` makes training data of a click log and the index, `doubts` says what speaks against the log,
`candidate` encodes the documents again, `comparison` decides, `learn` puts them together, `rollback` undoes
it. Knows nothing of HTTP. Only `learn` needs torch.
"""
