"""
The IDs that are current in this thread or task: one ContextVar, its readers and its writers.

Blocks, functions and threads bind IDs, ``identify`` changes them, outgoing requests and
carriers take them to another process, and events tell subscribers about it.
This package imports only ``_policy`` and the modules that ``_policy`` may import.
"""
