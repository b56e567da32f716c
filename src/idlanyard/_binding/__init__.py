"""
The IDs that are current in this thread or task: one ContextVar, its readers and its writers.

Blocks, functions and threads bind IDs, ``identify`` changes them, carriers take them to
another process and back, and events tell subscribers about it.
This package imports only ``_policy`` and the modules that ``_policy`` may import.
"""
