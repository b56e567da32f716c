"""
A script that calls a service: its requests carry one session.

    python examples/script.py http://127.0.0.1:8000/
"""

from __future__ import annotations

import sys
import urllib.request

from idlanyard import prepare_request_headers

headers: dict[str, str] = {}
prepare_request_headers(headers)
request = urllib.request.Request(sys.argv[1], headers=headers)
with urllib.request.urlopen(request, timeout=10) as response:
    print(headers["X-Session-ID"], response.headers["X-Session-ID"])
