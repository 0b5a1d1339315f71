"""Options with vLLM's names and rules: the tables, their parser, and what they mean here."""
