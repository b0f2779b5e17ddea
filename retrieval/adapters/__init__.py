"""Peephole under the interfaces of other libraries, one a module, over `Retriever` and the towers.

langchain      retriever, embeddings, vector store      extra `langchain`
haystack       retriever, document store                extra `haystack`
llama_index    retriever, embeddings, vector store      extra `llama-index`
collection     an index folder as these modules read and change it
conditions     filters of other libraries as ours
towers         both towers, shared by threads

Each extra is imported by its module alone. Nothing is imported from here but by a verb, and this file imports
none of the modules.
"""
