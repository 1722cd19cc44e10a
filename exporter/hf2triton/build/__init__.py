"""`hf2triton build`: a whole repository from one file."""
