"""Finds what is wrong with a model repository, and with a server that serves it, by a table of rules.

    finding.py         Rule, Problem, Finding
    models.py          a repository as rules see it; server.py the same of a running server
    …_rules.py         the rules, by what they look at; python_audit.py and cves.py are what two of them know

A rule is a small function; a new rule is a row in its file's RULES. Rules change nothing, in the repository or on the server.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UnknownName
from . import (
    bounds_rules,
    config_rules,
    file_rules,
    graph_rules,
    memory_rules,
    release_rules,
    server_rules,
    version_rules,
    warmup_rules,
)
from .finding import ERROR, NOTE, SEVERITIES, WARNING, Finding, Problem, Rule
from .models import Lint, read_repository
from .server import look_at

__all__ = ["ERROR", "NOTE", "RULES", "WARNING", "Finding", "LintReport", "Rule", "lint"]

#: A rule's id -> the rule, in the order in which they are reported.
RULES = {
    rule.id: rule
    for module in (
        config_rules,
        version_rules,
        graph_rules,
        warmup_rules,
        file_rules,
        bounds_rules,
        memory_rules,
        release_rules,
        server_rules,
    )
    for rule in module.RULES
}


@dataclass(frozen=True)
class LintReport:
    """The findings, worst first. `models`: the models that were checked. `server`: its url and version, if a server was named."""

    repository: Path
    models: tuple[str, ...]
    findings: tuple[Finding, ...]
    server: str | None = None

    def count(self, severity: str) -> int:
        return sum(one.severity == severity for one in self.findings)

    def passed(self, strict: bool = False) -> bool:
        """Whether there are no errors and, with `strict`, no warnings."""
        return not self.count(ERROR) and not (strict and self.count(WARNING))

    def to_json(self) -> dict[str, Any]:
        return {
            "format": 1,
            "repository": str(self.repository),
            "server": self.server,
            "models": list(self.models),
            "passed": self.passed(),
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "findings": [one.to_json() for one in self.findings],
        }


def lint(
    repository: Path,
    names: tuple[str, ...] = (),
    *,
    url: str | None = None,
    headers: Mapping[str, str] | None = None,
    gpu_memory: int | None = None,
    ignore: Collection[str] = (),
) -> LintReport:
    """Checks the models `names`, by default all, and the server at a gRPC `url`, which gets the `headers` with each call.

    `gpu_memory`: bytes of each GPU, by default what the entries were exported for. `ignore`: ids of rules to skip. Raises
    RepositoryError, UnknownName and the client's errors.
    """
    for name in ignore:
        if name not in RULES:
            raise UnknownName("rule", name, RULES)
    seen = read_repository(repository, tuple(names), gpu_memory)
    if url is not None:
        seen = replace(seen, server=look_at(url, tuple(seen.every), headers))
    chosen = [rule for rule in RULES.values() if rule.id not in ignore]
    findings = [finding for rule in chosen for finding in _run(rule, seen)]
    order = {id: index for index, id in enumerate(RULES)}
    findings.sort(key=lambda one: (SEVERITIES.index(one.severity), one.entry, order[one.rule], one.where))
    server = seen.server and f"{seen.server.url}, Triton {seen.server.version}"
    return LintReport(repository, tuple(model.name for model in seen.models), tuple(findings), server)


def _run(rule: Rule, seen: Lint) -> Iterator[Finding]:
    """What a rule finds, in each model or in everything."""
    if rule.scope == "model":
        for model in seen.models:
            yield from (_finding(rule, model.name, one) for one in rule.check(seen, model))
    elif rule.scope == "repository":
        yield from (_finding(rule, "", one) for one in rule.check(seen))
    elif seen.server is not None:
        yield from (_finding(rule, "", one) for one in rule.check(seen, seen.server))


def _finding(rule: Rule, entry: str, problem: Problem) -> Finding:
    return Finding(rule.id, problem.severity or rule.severity, entry, problem.where, problem.message, problem.more)
