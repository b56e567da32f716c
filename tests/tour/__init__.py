"""
The tour, with its services as real processes.
"""

from __future__ import annotations
