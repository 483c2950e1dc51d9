"""Cleaning of training data: duplicates, what a benchmark has too, lengths. All of it streams; memory stays flat."""
