"""Configuration files: validators, strict YAML, schemas and the registry."""
