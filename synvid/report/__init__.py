"""The HTML report over several datasets."""
