"""
What ``manage.py`` finds of this application.
"""

from __future__ import annotations
