"""The rasterizer: pose → row spans → visible runs, nearest object first → pixels."""
