"""`python -m hf2triton`."""

from .cli import main

main()
