"""
One module for each framework or library, and ``custom`` for integrations of your own.
"""

from __future__ import annotations

__all__: list[str] = []
