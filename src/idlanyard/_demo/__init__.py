"""
The code of ``python -m idlanyard demo``: two real servers and real requests.
"""

from __future__ import annotations
