"""Compiled functions, random numbers and bit-exact mathematics."""
