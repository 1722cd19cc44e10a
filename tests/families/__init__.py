"""The table of families and tasks beyond the first five families: every cell is exported and asked."""
