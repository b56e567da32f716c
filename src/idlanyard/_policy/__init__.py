"""
The policy of a service: the rules of its IDs, checked when they are built, immutable afterwards.

``Policy`` has an ``IDSpec`` for each ID, with its sources, and the peers that are trusted; a
wrong option raises ``PolicyError`` with what to write instead. ``CheckedPolicy`` is the same
policy as the rest of the package reads it.
This package imports only ``exceptions``, ``ids`` and ``_failures``.
"""
