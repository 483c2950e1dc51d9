"""What every stage shares: records, parameters, prompts, statistics and files. Imports nothing heavy."""
