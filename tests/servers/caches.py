"""
Starts real shared caches in front of a server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ports import free_port
from servers.launch import Running, Server, wait

NGINX = """
user root; daemon off; error_log stderr; pid {folder}/pid; worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=one:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{service};
            proxy_cache one;
            proxy_cache_valid 1m;
            proxy_cache_valid 404 410 1m;
            proxy_cache_revalidate on;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"""


def binary(name: str) -> str:
    """
    Return the path of a program, or skip the test where it is missing.
    """
    beside = str(Path(sys.executable).parent)
    places = (os.environ.get("PATH", ""), beside, "/usr/sbin", "/usr/local/sbin")
    path = shutil.which(name, path=os.pathsep.join(places))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def _nginx(port: int, service: int, folder: Path) -> list[str]:
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, service=service, port=port), encoding="utf-8")
    return [binary("nginx"), "-p", str(folder), "-c", str(file)]


def _varnish(port: int, service: int, folder: Path) -> list[str]:
    # No configuration but the one that it has when nobody writes any.
    words = ["-F", "-j", "none", "-a", f"127.0.0.1:{port}", "-b", f"127.0.0.1:{service}"]
    return [binary("varnishd"), *words, "-n", str(folder / "varnish")]


COMMANDS = {"varnish": _varnish, "nginx": _nginx}


@contextmanager
def cache(name: str, behind: Running, folder: Path) -> Iterator[Running]:
    """
    Start a cache in front of a server, and stop it afterwards.

    Args:
        name: ``"varnish"`` or ``"nginx"``.
        behind: the server whose responses it keeps.
        folder: an empty one, for its files.
    """
    port, output = free_port(), folder / "output"
    assert isinstance(behind.address, tuple)
    words = COMMANDS[name](port, behind.address[1], folder)
    with output.open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    up = Running(Server(name, tuple(words), "http"), ("127.0.0.1", port), output)
    try:
        wait(process, up)
        yield up
    finally:
        process.terminate()
        process.wait(10)
