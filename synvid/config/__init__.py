"""Configuration files: validators, schemas, strict YAML and the registry; checks of arguments."""
