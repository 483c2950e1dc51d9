"""Measurements: ratios taken side by side in one run, and the figures of the docs."""
