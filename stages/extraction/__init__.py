"""The program in a model's answer: which text of it is code, and what has to stand before it. Pure and deterministic.

Answers are hostile text that this process parses: every step is linear in their length, and longer texts than a parser
may see are judged by their lines alone.
"""
