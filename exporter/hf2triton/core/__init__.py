"""What all packages share: options, types, names and places in a repository, digests, the manifest."""
