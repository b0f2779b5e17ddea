"""An index in Milvus beside one in files: the same answers, what a search costs, what kills leave."""
