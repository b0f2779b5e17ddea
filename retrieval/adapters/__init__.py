"""Peephole under the interfaces of other libraries, one a module, over `Retriever` and the towers.

langchain      retriever, embeddings, vector store      extra `langchain`
haystack       retriever, document store                extra `haystack`
llama_index    retriever, embeddings, vector store      extra `llama-index`
sentence_transformers    both towers as a SentenceTransformer    extra `sentence-transformers`
mteb           the engine and the towers as models      extra `mteb`
ir_datasets    collections as BEIR folders              extra `ir-datasets`
mcp            tools for agents                         extra `mcp`
onnx           a tower for other languages              extra `onnx`
collection     an index folder as these modules read and change it
conditions     filters of other libraries as ours
towers         both towers, shared by threads

Each extra is imported by its module alone. Nothing is imported from here but by a verb, and this file imports
none of the modules.
"""
