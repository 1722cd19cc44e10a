"""Prints a text while it is generated. Ctrl-C ends it early, on the server too, and keeps what has arrived.

python streaming.py "In the beginning" --max-new-tokens 100
"""

from __future__ import annotations

import argparse
import sys

from hf2triton_client import ClientError, pipeline


def main() -> int:
    parser = argparse.ArgumentParser(description="Print a text while it is generated.")
    parser.add_argument("prompt")
    parser.add_argument("--url", default="localhost:8001", help="the server's gRPC endpoint")
    parser.add_argument("--model", default="verses")
    parser.add_argument("--max-new-tokens", type=int, default=100)
    parser.add_argument("--seed", type=int, help="the same seed gives the same text")
    arguments = parser.parse_args()
    options = {"max_new_tokens": arguments.max_new_tokens, "seed": arguments.seed, "return_full_text": True}
    try:
        with (
            pipeline("text-generation", model=arguments.model, url=arguments.url) as write,
            write.stream(arguments.prompt, **options) as pieces,
        ):
            for piece in pieces:
                print(piece, end="", flush=True)
    except KeyboardInterrupt:
        print()
        return 130
    except ClientError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
