"""Click logs become graded pairs: reading the log, how far down people look, grades, and a data set of it.

`log`, `propensity` and `grading` are functions of arrays, which know nothing of files, so that clicks of any
origin can go the same way. `queries`, `half_typed` and `query_lists` tell what people search for. Knows
nothing of models or indexes.
"""
