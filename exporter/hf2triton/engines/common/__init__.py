"""What is made of an engine's row: resolved options, config keys, the memory estimate, the devices of this machine."""
