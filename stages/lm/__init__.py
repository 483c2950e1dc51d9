"""The room of language models: the only one that imports torch, transformers, trl and peft."""

import logging
import os

# Read when the libraries below are imported, so it must be said before any of them is.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # sampling forks
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# Waiting threads sleep instead of spinning: on two cores with other work on one, training ran at 1.8 times the speed.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# PEFT imports bitsandbytes where it is installed, which tells each CPU that could use an extra kernel.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
