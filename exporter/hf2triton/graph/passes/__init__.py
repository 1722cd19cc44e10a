"""What is done to a graph before its precision is chosen."""
