"""
The code of ``python -m idlanyard doctor``: checks of an application, with real requests.
"""

from __future__ import annotations
