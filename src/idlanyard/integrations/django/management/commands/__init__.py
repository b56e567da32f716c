"""
The commands: ``runserver``, whose access lines have the IDs.
"""

from __future__ import annotations
