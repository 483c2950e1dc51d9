"""Thoughts that a model writes down before its answer, between `<think>` and `</think>`."""

THINK, END_THINK = "<think>", "</think>"


def drop_thinking(text: str) -> str:
    """The text without its thoughts: whole ones, one that began before the text, and one that the text's end cut."""
    kept, at = [], 0
    end, start = text.find(END_THINK), text.find(THINK)
    if end >= 0 and (start < 0 or end < start):
        at = end + len(END_THINK)
    while (start := text.find(THINK, at)) >= 0:
        end = text.find(END_THINK, start)
        if end < 0:
            # Unclosed: a thought that was cut where it opens the text, a word of the answer elsewhere.
            if not "".join(kept).strip() and not text[at:start].strip():
                return ""
            break
        kept.append(text[at:start])
        at = end + len(END_THINK)
    kept.append(text[at:])
    return "".join(kept)
