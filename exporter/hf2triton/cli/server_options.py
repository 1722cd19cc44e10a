"""The options of commands that ask a server: --url, --header and --wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hf2triton_client import Connection

    from ..deploy.live import Live

#: Seconds between two tries of --wait.
_PAUSE = 0.2


@dataclass(frozen=True)
class ServerOptions:
    """The server to ask. `url`: None if the command works without one. `headers`: sent with each call. `wait`: seconds to wait
    for it. `given`: the options that the user gave."""

    url: str | None
    headers: Mapping[str, str]
    wait: float
    given: tuple[str, ...]

    @property
    def address(self) -> str:
        """The URL, in commands whose option has a default."""
        assert self.url is not None
        return self.url

    def refuse_beside(self, option: str) -> None:
        """Raises UsageError if the user also says which server to ask."""
        if self.given:
            raise click.UsageError(f"{option} starts its own server: leave out {' and '.join(self.given)}.")

    def wait_for(self, names: Sequence[str] = ()) -> None:
        """Waits until the server has these entries, or --wait has passed. The command itself reports what is missing then."""
        if self.url is None or not self.wait:
            return
        from hf2triton_client import connect

        from .console import progress

        until = time.monotonic() + self.wait
        with progress() as advance:
            advance(f"wait for {', '.join(names) or 'the server'} at {self.url}")
            while (left := until - time.monotonic()) > 0:
                with connect(self.url, timeout=left, headers=self.headers, retries=0) as connection:
                    if _has(connection, names):
                        return
                time.sleep(min(_PAUSE, left))


def _has(connection: Connection, names: Sequence[str]) -> bool:
    """Whether the server answers and has all entries, or refuses for a reason that waiting does not change."""
    from hf2triton_client import pipeline
    from hf2triton_client.errors import ClientError, ConnectionFailed, DeadlineExceeded, ModelNotFound, ServerBusy

    try:
        connection.server_name()
        for name in names:
            pipeline(model=name, connection=connection)
    except (ConnectionFailed, DeadlineExceeded, ModelNotFound, ServerBusy):
        return False
    except ClientError:
        return True
    return True


def _headers(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    parted = {one: one.partition("=") for one in given}
    if wrong := [one for one, (name, _, value) in parted.items() if not (name and value)]:
        raise click.UsageError(f"--header should read NAME=VALUE, not {wrong[0]}")
    return {name: value for name, _, value in parted.values()}


def asks_server(
    flag: str = "--url",
    help: str = "The gRPC address of the server.",
    default: str | None = "localhost:8001",
    metavar: str = "HOST:PORT",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds the options, and gives the command its ServerOptions. `flag`: names the server."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapper(*arguments: Any, url: str | None, headers: Mapping[str, str], wait: float, **options: Any) -> Any:
            given = _given({"url": flag, "headers": "--header", "wait": "--wait"})
            return function(*arguments, server=ServerOptions(url, headers, wait, given), **options)

        for option in (
            click.option(
                "--wait",
                type=click.FloatRange(0),
                default=0.0,
                show_default=True,
                metavar="SECONDS",
                help="Wait up to this long until the server and its models are ready.",
            ),
            click.option(
                "--header",
                "headers",
                multiple=True,
                callback=_headers,
                metavar="NAME=VALUE",
                help="A header to send with each call, such as a key or a token. Repeatable.",
            ),
            click.option(flag, "url", default=default, show_default=default is not None, metavar=metavar, help=help),
        ):
            wrapper = option(wrapper)
        return wrapper

    return decorate


def _given(flags: Mapping[str, str]) -> tuple[str, ...]:
    """The flags of the parameters that the user gave."""
    source = click.get_current_context().get_parameter_source
    return tuple(flag for name, flag in flags.items() if source(name) is click.core.ParameterSource.COMMANDLINE)


serve_option = click.option(
    "--serve", is_flag=True, help="Start a server on the repository, on free ports, and ask it."
)
loads_on_server = asks_server(
    "--load",
    "The gRPC address of a server of that repository, which loads the version and must then give PyTorch's answers.",
    default=None,
)


@contextmanager
def control_over(server: ServerOptions) -> Iterator[Live | None]:
    """Control over the server, if one is named."""
    if server.url is None:
        yield None
        return
    from ..core.control import connect_to_control
    from ..deploy.live import Live
    from .switches import mute_pipelines

    mute_pipelines()
    server.wait_for()
    with connect_to_control(server.url, server.headers) as connection:
        yield Live(connection)
