"""
The IDs that one request gets: pure decisions, for ASGI and WSGI alike.

A policy is compiled once into a plan; ``resolve`` takes a plan and a request's headers and
decides every ID, its provenance, the echo and the refusal. Nothing here binds or sends.
This package imports only ``_binding``, ``_policy`` and the modules that those may import.
"""
