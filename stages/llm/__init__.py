"""The room of LLM-written examples: prompts, servers, the ledger of answers, and what an answer must be like."""
