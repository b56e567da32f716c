"""
The checks: each decides on observations, and none sends a request.
"""

from __future__ import annotations
