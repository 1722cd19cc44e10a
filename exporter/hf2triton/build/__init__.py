"""`hf2triton build`: builds a whole repository from one file."""
