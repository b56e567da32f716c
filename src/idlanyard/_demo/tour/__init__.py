"""
The tour of ``python -m idlanyard demo``: four services, one page, and requests that travel.
"""

from __future__ import annotations
