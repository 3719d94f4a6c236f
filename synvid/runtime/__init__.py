"""Long-running work: signals, progress and worker processes."""
