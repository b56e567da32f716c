"""
One module for each framework or library; import the one that you use.
"""

from __future__ import annotations

__all__: list[str] = []
