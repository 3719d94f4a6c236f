"""Long work: whole files, interruptions, progress, a pool of processes."""
