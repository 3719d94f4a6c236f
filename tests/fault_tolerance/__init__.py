"""Runs that are killed, interrupted, out of disk space, or in the same folder."""
