"""Measuring datasets: spectrum, colour and motion of any source of clips, and the report over several (section 5)."""
