"""One validated, documented object per section of params.yaml; a stage imports just the sections that it reads."""
