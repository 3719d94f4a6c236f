"""The rasterizer: computes the row spans of each object and paints them, nearest object first."""
