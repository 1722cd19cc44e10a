"""`python -m hf2triton`, and the command `hf2triton`."""

import os
import signal


def main() -> None:
    """Runs the command line. An interrupt while it is imported ends the process without a traceback."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
