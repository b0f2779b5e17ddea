"""The API: its operations, what they read of a request, and what they answer.

Knows requests and responses and what the processes share; knows nothing of processes, sockets and routes.
"""
