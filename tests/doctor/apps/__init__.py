"""
Small applications for the doctor: right ones, and one for each fault that it finds.
"""

from __future__ import annotations
