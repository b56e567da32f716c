"""
Tests of the doctor.
"""

from __future__ import annotations
