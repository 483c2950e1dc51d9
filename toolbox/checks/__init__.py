"""The parts of the self-check, `python toolbox/check.py`: what each looks at, and what it says."""
