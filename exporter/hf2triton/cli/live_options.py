"""`--load` and related options: notify a server of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .common import header_option

if TYPE_CHECKING:
    from ..deploy.live import Live


def live_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --load and the options for the server it refers to."""
    for option in (
        header_option,
        click.option(
            "--load",
            "url",
            metavar="URL",
            help="The gRPC endpoint of a server of that repository: the version is loaded there and must give PyTorch's answers.",
        ),
    ):
        function = option(function)
    return function


@contextmanager
def control_over(url: str | None, headers: dict[str, str]) -> Iterator[Live | None]:
    """Control over the server at a URL, if one is given."""
    if url is None:
        yield None
        return
    import logging

    from ..core.control import connect_to_control
    from ..deploy.live import Live

    logging.getLogger("hf2triton_client.pipelines").setLevel(logging.ERROR)  # no warnings about long texts
    with connect_to_control(url, headers) as connection:
        yield Live(connection)
