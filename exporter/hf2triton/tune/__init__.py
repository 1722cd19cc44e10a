"""`hf2triton tune`: measures call overhead on the server."""
