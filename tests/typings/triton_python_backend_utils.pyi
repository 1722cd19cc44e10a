from typing import Any

def __getattr__(name: str) -> Any: ...  # only the Python that runs inside Triton has this module
