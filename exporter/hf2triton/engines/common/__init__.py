"""Code shared by all engines: resolved options, config keys, the memory estimate, the devices of this machine."""
