"""The room of language models: the only one that imports torch, transformers, trl and peft."""
