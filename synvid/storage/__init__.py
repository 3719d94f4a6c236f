"""Files on disk: atomic writes, workspaces and locks."""
