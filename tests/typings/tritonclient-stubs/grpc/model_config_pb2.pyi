from typing import Any

def __getattr__(name: str) -> Any: ...  # protobuf makes this module's names when it is imported
