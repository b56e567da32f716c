"""
The demo itself: start the servers, send the requests, print the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

from rich.console import Console
from rich.table import Table

from idlanyard._demo import apps
from idlanyard._demo.rows import DemoRow, judge_server
from idlanyard._demo.servers import HOST, catch_tracebacks, serve_asgi, serve_wsgi


def judge_servers() -> list[DemoRow]:
    """
    Start both servers, send every request to both, and return the judged rows.
    """
    found: list[DemoRow] = []
    with ExitStack() as stack:
        tracebacks = stack.enter_context(catch_tracebacks())
        ports = {
            "ASGI": stack.enter_context(serve_asgi(apps.make_asgi_app())),
            "WSGI": stack.enter_context(serve_wsgi(apps.make_wsgi_app())),
        }
        for server, port in ports.items():
            found += judge_server(server, port, tracebacks)
    return found


def print_table(found: Sequence[DemoRow], console: Console) -> int:
    """
    Print the table and return 0 if every row is right, else 1.
    """
    table = Table(title="idlanyard: real requests to uvicorn (ASGI) and waitress (WSGI)")
    for heading in ("server", "what", "sent", "the application saw", "came back", ""):
        table.add_column(heading, overflow="fold")
    for row in found:
        mark = "[green]right[/]" if row.right else "[bold red]WRONG[/]"
        table.add_row(*row[:-1], mark, end_section=True)
    console.print(table)
    wrong = sum(not row.right for row in found)
    console.print(f"{len(found) - wrong} of {len(found)} rows right")
    return 1 if wrong else 0


def run_demo(console: Console | None = None) -> int:
    """
    Run the demo and return its exit status.
    """
    console = console or Console(width=132)
    console.print("The log warns of spoofed and invalid headers, as it will in your application:")
    found = judge_servers()
    console.print()
    return print_table(found, console)


def list_commands(asgi_port: int, wsgi_port: int) -> Iterable[str]:
    """
    Return commands to try against the servers.
    """
    for name, port in (("ASGI", asgi_port), ("WSGI", wsgi_port)):
        url = f"http://{HOST}:{port}"
        yield f"# {name}"
        yield f"curl -i {url}/"
        yield f"curl -i -H 'X-Session-ID: chat-42' {url}/stream"
        yield f"curl -i -H 'X-User-ID: admin' {url}/"
        yield f"curl -i -H 'X-User-ID: alice' -H 'X-Tenant-ID: acme' {url}/trusting/"
        yield f"curl -i -H 'X-Session-ID: two words' {url}/"
        yield f"curl -i {url}/late"


def keep_serving(wait: Callable[[], object], console: Console | None = None) -> int:
    """
    Keep the servers up until *wait* returns or Ctrl-C is pressed.
    """
    console = console or Console()
    with (
        serve_asgi(apps.make_asgi_app()) as asgi_port,
        serve_wsgi(apps.make_wsgi_app()) as wsgi_port,
    ):
        for line in list_commands(asgi_port, wsgi_port):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        console.print("Ctrl-C stops the servers.")
        try:
            wait()
        except KeyboardInterrupt:
            console.print("stopped")
    return 0
