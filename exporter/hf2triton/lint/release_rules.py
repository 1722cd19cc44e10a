"""Releases of Triton with known vulnerabilities."""

from __future__ import annotations

from collections.abc import Iterator

from .cves import CVES, HIGH, cves_of, known_since
from .finding import ERROR, NOTE, WARNING, Problem, Rule
from .models import Lint
from .server import Seen

#: How many vulnerabilities a message names.
_NAMED = 3


def entry_release(lint: Lint) -> Iterator[Problem]:
    """Checks the releases that entries were exported for. Later releases serve them as well, so this is not an error yet."""
    if lint.server is not None:
        return  # the server serves them, whatever they were exported for
    found: dict[str | None, list[str]] = {}
    for model in lint.models:
        if model.manifest is not None:
            found.setdefault(model.manifest.graph.release, []).append(model.name)
    for release, names in found.items():
        if release is None:
            newest = max(one.fixed for one in CVES)
            yield Problem(
                ", ".join(names),
                f"no release is named: {newest} or later has the fixes of all vulnerabilities that are known here; --server URL"
                f" checks the release of a server ({known_since()})",
                NOTE,
            )
        elif problem := _told(
            f"{', '.join(names)}: exported for Triton {release}, which has", release, ", ".join(names)
        ):
            yield problem


def server_release(lint: Lint, server: Seen) -> Iterator[Problem]:
    if server.release is None:
        yield Problem(
            server.url, f"its version, {server.version!r}, is not a version of Triton that is known here", WARNING
        )
    elif problem := _told(
        f"Triton {server.version} is release {server.release}, which has", server.release, server.url
    ):
        worst = cves_of(server.release)[0].score
        yield Problem(problem.where, problem.message, ERROR if worst >= HIGH else WARNING, problem.more)


def _told(beginning: str, release: str, where: str) -> Problem | None:
    found = cves_of(release)
    if not found:
        return None
    fixed = max(one.fixed for one in found)
    named = ", ".join(f"{one.id} ({one.score}: {one.what})" for one in found[:_NAMED])
    return Problem(
        where,
        f"{beginning} {len(found)} known vulnerabilities, the worst {named}. Serve with {fixed} or later. Source:"
        f" {found[0].source} ({known_since()})",
        more=tuple(f"{one.id} {one.score} fixed in {one.fixed}: {one.what}; {one.source}" for one in found),
    )


RULES = (
    Rule(
        "release-cve",
        WARNING,
        "repository",
        "a release that entries were exported for with known vulnerabilities",
        entry_release,
    ),
    Rule("server-cve", ERROR, "server", "a server whose release has known vulnerabilities", server_release),
)
