"""
What ``python -m idlanyard demo`` runs: two real servers and real requests.
"""

from __future__ import annotations
