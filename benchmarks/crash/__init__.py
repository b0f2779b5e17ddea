"""Can an index lose a document?"""
