"""Scenes: shapes, kinematics, and sampling a scene from a preset."""
