"""The VideoMAE model and its checkpoints."""
