"""Vulnerabilities of Triton that NVIDIA has published, and the release that has each fix.

Checked on 26 November 2026 against NVIDIA's own bulletins, in https://github.com/NVIDIA/product-security and, with the same
numbers, at https://nvidia.custhelp.com/app/answers/detail/a_id/NUMBER. The newest found is 5875, of 8 September 2026. Left
out is what concerns the DALI and TensorRT-LLM backends, the SageMaker endpoint and the MLflow plugin: they serve nothing of ours.

The server tells its version, not its release: `release_of` knows which it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Of a bulletin.
_URL = "https://nvidia.custhelp.com/app/answers/detail/a_id/{}"
#: The score from which a vulnerability is high, by CVSS 3.1.
HIGH = 7.0


@dataclass(frozen=True)
class Cve:
    """`fixed`: the first release that has the fix. `since`: the first that needs it, "" for any. `score`: CVSS 3.1, NVIDIA's."""

    id: str
    fixed: str
    score: float
    bulletin: int
    what: str
    since: str = ""

    @property
    def source(self) -> str:
        return _URL.format(self.bulletin)

    def affects(self, release: str) -> bool:
        """YY.MM of equal length compare as text."""
        return self.since <= release < self.fixed


CVES = (
    # the bulletin says version 2.40, which is 23.11; only with --model-control-mode=explicit
    Cve(
        "CVE-2023-31036", "23.11", 7.5, 5509, "path traversal by the model load API, where models are loaded explicitly"
    ),
    Cve("CVE-2024-0087", "24.04", 9.0, 5535, "the logging API writes to any file", "22.09"),
    Cve("CVE-2024-0100", "24.04", 6.5, 5535, "the tracing API corrupts system files", "22.09"),
    Cve("CVE-2024-0088", "24.04", 5.5, 5535, "improper memory access by the shared memory API", "20.10"),
    Cve("CVE-2024-0103", "24.05", 5.4, 5546, "incorrect initialisation of a resource, discloses information", "23.10"),
    Cve("CVE-2024-0116", "24.09", 4.9, 5565, "out-of-bounds read when shared memory is released while in use", "19.11"),
    Cve("CVE-2024-53880", "24.12", 4.9, 5612, "integer overflow by loading a very large model"),
    Cve("CVE-2025-23323", "25.05", 7.5, 5687, "integer overflow by an invalid request, denial of service"),
    Cve("CVE-2025-23324", "25.05", 7.5, 5687, "integer overflow by an invalid request, denial of service"),
    Cve("CVE-2025-23325", "25.05", 7.5, 5687, "uncontrolled recursion, denial of service"),
    Cve("CVE-2025-23326", "25.05", 7.5, 5687, "integer overflow, denial of service"),
    Cve("CVE-2025-23327", "25.05", 7.5, 5687, "integer overflow, denial of service and data tampering"),
    Cve("CVE-2025-23335", "25.05", 4.4, 5687, "underflow in the TensorRT backend"),
    Cve("CVE-2025-23322", "25.06", 7.5, 5687, "double free when a stream is cancelled, denial of service"),
    Cve("CVE-2025-23331", "25.06", 7.5, 5687, "memory allocation of excessive size, denial of service"),
    Cve("CVE-2025-23310", "25.07", 9.8, 5687, "stack buffer overflow, remote code execution"),
    Cve("CVE-2025-23311", "25.07", 9.8, 5687, "stack overflow by HTTP requests, remote code execution"),
    Cve("CVE-2025-23317", "25.07", 9.1, 5687, "reverse shell by an HTTP request"),
    Cve("CVE-2025-23318", "25.07", 8.1, 5687, "out-of-bounds write in the Python backend, code execution"),
    Cve("CVE-2025-23319", "25.07", 8.1, 5687, "out-of-bounds write in the Python backend, remote code execution"),
    Cve("CVE-2025-23320", "25.07", 7.5, 5687, "the Python backend discloses the name of its shared memory"),
    Cve("CVE-2025-23321", "25.07", 7.5, 5687, "division by zero, denial of service"),
    Cve("CVE-2025-23333", "25.07", 5.9, 5687, "out-of-bounds read in the Python backend by shared memory"),
    Cve("CVE-2025-23334", "25.07", 5.9, 5687, "out-of-bounds read in the Python backend"),
    Cve(
        "CVE-2025-23316",
        "25.08",
        9.8,
        5691,
        "remote code execution by a model's name in the control API, Python backend",
    ),
    Cve("CVE-2025-23328", "25.08", 7.5, 5691, "out-of-bounds write, denial of service"),
    Cve("CVE-2025-23329", "25.08", 7.5, 5691, "memory corruption by the shared memory of the Python backend"),
    Cve("CVE-2025-23336", "25.08", 4.4, 5691, "denial of service by loading a misconfigured model"),
    Cve("CVE-2025-33202", "25.09", 6.5, 5723, "stack overflow by very large payloads, denial of service"),
    Cve("CVE-2025-33201", "25.10", 7.5, 5734, "very large payloads, denial of service"),
    Cve("CVE-2025-33211", "25.10", 7.5, 5734, "improper validation of a quantity, denial of service"),
    Cve("CVE-2025-33254", "26.01", 7.5, 5790, "corruption of internal state, denial of service"),
    Cve("CVE-2026-24158", "26.01", 7.5, 5790, "a large compressed payload over HTTP, denial of service"),
    Cve("CVE-2026-24146", "26.02", 7.5, 5816, "a large number of outputs, denial of service"),
    Cve("CVE-2026-24173", "26.02", 7.5, 5816, "a malformed request, denial of service"),
    Cve("CVE-2026-24174", "26.02", 7.5, 5816, "a malformed request, denial of service"),
    Cve("CVE-2026-24175", "26.02", 7.5, 5816, "a malformed request header, denial of service"),
    Cve("CVE-2026-24147", "26.02", 4.8, 5816, "an uploaded model configuration discloses information"),
    Cve("CVE-2026-24207", "26.03", 9.8, 5828, "authentication bypass, code execution"),
    Cve("CVE-2026-24209", "26.03", 7.5, 5828, "path traversal, denial of service"),
    Cve("CVE-2026-24210", "26.03", 7.5, 5828, "integer overflow, denial of service"),
    Cve("CVE-2026-24206", "26.03", 7.3, 5828, "authentication bypass, escalation of privileges"),
    Cve("CVE-2026-24208", "26.03", 5.3, 5828, "path traversal, denial of service"),
    Cve("CVE-2026-24264", "26.04", 7.5, 5848, "highly compressed data, denial of service"),
    Cve("CVE-2026-24266", "26.04", 5.9, 5848, "use after free, denial of service"),
    Cve("CVE-2026-47625", "26.04", 7.5, 5875, "missing authorisation, data tampering and disclosure"),
    Cve("CVE-2026-47476", "26.05", 7.5, 5853, "uncontrolled resource consumption, denial of service"),
    Cve("CVE-2026-47477", "26.05", 7.5, 5853, "stack buffer overflow, denial of service"),
    Cve("CVE-2026-47478", "26.05", 7.5, 5853, "use of an expired file descriptor, denial of service"),
    Cve("CVE-2026-47479", "26.05", 7.5, 5853, "uncontrolled resource consumption, denial of service"),
    Cve("CVE-2026-47480", "26.05", 7.5, 5853, "uncaught exception, denial of service"),
    Cve("CVE-2026-47482", "26.05", 7.5, 5853, "memory that is never released, denial of service"),
    Cve("CVE-2026-47481", "26.05", 6.5, 5853, "authentication bypass, code execution"),
    Cve("CVE-2026-47627", "26.06", 9.8, 5865, "path traversal, denial of service"),
    Cve("CVE-2026-47628", "26.06", 7.5, 5865, "allocation of resources without limits, denial of service"),
    Cve("CVE-2026-47629", "26.06", 7.5, 5865, "improper input validation, denial of service"),
    Cve("CVE-2026-47606", "26.06", 6.5, 5865, "absolute path traversal, code execution"),
    Cve("CVE-2026-47630", "26.06", 5.5, 5865, "absolute path traversal, code execution"),
    Cve("CVE-2026-16497", "26.07", 7.5, 5875, "excessive iteration, denial of service"),
)


def cves_of(release: str) -> list[Cve]:
    """Those that a release has, the worst first."""
    return sorted((one for one in CVES if one.affects(release)), key=lambda one: (-one.score, one.id))


def release_of(version: str) -> str | None:
    """The release that a server's version belongs to; None where it is none of Triton's.

    A version's second number goes up by one each month: 2.51.0 is 24.10. But 25.07 is 2.59.1, so that from 25.08 on, 2.60.0, it
    is one less (https://github.com/triton-inference-server/server/releases).
    """
    match = re.fullmatch(r"2\.(\d+)\.(\d+).*", version)
    if match is None:
        return None
    minor, patch = int(match[1]), int(match[2])
    months = minor - 51 + (minor > 59 or (minor == 59 and patch > 0))
    year, month = divmod(24 * 12 + 9 + months, 12)
    return f"{year:02}.{month + 1:02}"
