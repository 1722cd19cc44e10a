"""How the user can run another command of this installation."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def own_command(*arguments: str) -> str:
    """A command line for a shell in the current folder."""
    called = Path(sys.argv[0])
    if called.name != "hf2triton":  # python -m hf2triton
        return shlex.join([sys.executable, "-m", "hf2triton", *arguments])
    found = shutil.which("hf2triton")
    on_path = found is not None and called.exists() and Path(found).samefile(called)
    return shlex.join(["hf2triton" if on_path else str(called), *arguments])
