"""Cleaning of training data: duplicates, what a benchmark has too, lengths. All of it streams; memory stays flat."""

# Sources that keep their training and benchmark tasks apart by what programs do, in sentences of one pattern: among
# tasks of one of these, likeness of words tells nothing.
DISJOINT = frozenset({"synthetic"})
