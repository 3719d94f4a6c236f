"""Metrics of datasets: spectrum, colour and motion, with confidence intervals (section 5)."""
