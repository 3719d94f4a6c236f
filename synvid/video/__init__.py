"""Video files: colour conversion, encoding, decoding."""
