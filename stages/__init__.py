"""halo-forge: verifier-rewarded training of code models, one plain script per DVC stage."""
