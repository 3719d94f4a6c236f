"""Textures: generators, image folders and texture banks."""
