"""What a profile will need, worked out without running it: parameters, memory, tokens, hours, disk."""
