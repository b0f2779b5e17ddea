"""Peephole under the interfaces of other libraries, one a module, over `Retriever` and the towers.

Each module needs the extra of the same name. Nothing else in the product imports from here, and this package
imports none of its modules.
"""
