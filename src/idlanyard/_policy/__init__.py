"""
The rules that a service states about its IDs: built once, checked when built, frozen.

``Policy`` holds an ``IDSpec`` for each ID, its sources and the peers that are trusted;
every check of an option, with the sentence that says what to write instead, is here.
This package imports only ``exceptions``, ``ids`` and ``_failures``.
"""
