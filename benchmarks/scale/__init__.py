"""Speed, memory and recall of large corpora."""
