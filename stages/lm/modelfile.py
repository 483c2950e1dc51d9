"""Ollama's Modelfile for a GGUF file: its chat template as a Go template, and what stops an answer.

Ollama does not run the Jinja template that a GGUF file carries, so it needs one of its own. Most templates put fixed
text before and after each message; that text is found by rendering conversations, and the whole is then tried on
others. What cannot be said so is not written: a template that is nearly right makes a model worse without a word.
"""

import itertools
import json
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from stages.lm.chat import end_ids

ROLES = ("system", "user", "assistant")
# What the template must leave as it is: blanks at the ends, blank lines, braces, quotes, thoughts.
CONTENTS = (
    "def f(xs):\n\treturn {{1}}",
    '  two\n\n"three"  ',
    "<think>\nso\n</think>\n\nok",
    "\n'é' 日本 {% x %}\n",
    "ok",
    "",
)


class Inexpressible(Exception):
    """The chat template is more than fixed text around messages; the message says where."""


@dataclass(frozen=True)
class Turns:
    """Fixed text around messages: `before` and `after` by role, `default` in front where the first message is not the
    system's, `prompt` where an answer is to begin."""

    before: dict[str, str]
    after: dict[str, str]
    default: str
    prompt: str

    def render(self, messages: list[dict[str, str]]) -> str:
        """The prompt as `go_template` makes it: an answer at the end is left open, to be gone on with."""
        parts = [] if messages[0]["role"] == "system" else [self.default]
        for message in messages:
            parts += [self.before[message["role"]], message["content"], self.after[message["role"]]]
        if messages[-1]["role"] == "assistant":
            return "".join(parts[:-1])
        return "".join(parts) + self.prompt

    def go_template(self) -> str:
        """The same as a template for Ollama, all of whose text stands in Go string literals."""
        lines = ["{{- range $i, $message := .Messages }}", "{{- $last := eq (len (slice $.Messages $i)) 1 }}"]
        if self.default:
            lines.append('{{- if and (eq $i 0) (ne .Role "system") }}' + _literal(self.default) + "{{ end }}")
        for number, role in enumerate(self.before):
            after = _literal(self.after[role])
            after = f"{{{{ if not $last }}}}{after}{{{{ end }}}}" if role == "assistant" else after
            test = f'{{{{- {"else " if number else ""}if eq .Role "{role}" }}}}'
            lines.append(f"{test}{_literal(self.before[role])}{{{{ .Content }}}}{after}")
        lines += ["{{- end }}", '{{- if and $last (ne .Role "assistant") }}' + _literal(self.prompt) + "{{ end }}"]
        return "\n".join([*lines, "{{- end }}"])


def _literal(text: str) -> str:
    """Text as an action of a Go template. JSON's escapes are Go's, but for those of characters beyond 16 bits."""
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}" if text else ""


def turns(tokenizer: PreTrainedTokenizerBase) -> Turns:
    """A tokenizer's chat template as fixed text around messages. Raises Inexpressible where it is not that."""
    user, answer = "<QUESTION>", "<ANSWER>"
    asked = {"role": "user", "content": user}
    answered = {"role": "assistant", "content": answer}
    first = _rendered(tokenizer, [asked])
    twice = _rendered(tokenizer, [asked, answered, asked])
    opening, _, after_user = first.partition(user)
    _, _, rest = twice.partition(user)
    between, _, again = rest.partition(answer)
    again, _, _ = again.partition(user)
    _, _, after_answer = _rendered(tokenizer, [asked, answered]).partition(answer)
    prompt = _rendered(tokenizer, [asked], add_generation_prompt=True).removeprefix(first)
    if not between.startswith(after_user) or not again.startswith(after_answer):
        raise Inexpressible("what stands around a message depends on those after it")
    before_user = again.removeprefix(after_answer)
    before = {"user": before_user, "assistant": between.removeprefix(after_user)}
    after = {"user": after_user, "assistant": after_answer}
    try:
        system, _, follows = _rendered(tokenizer, [{"role": "system", "content": answer}, asked]).partition(answer)
        behind = follows.partition(user)[0].removesuffix(before_user)
        before, after = {"system": system, **before}, {"system": behind, **after}
    except Inexpressible:  # it takes no system message, and neither does the Modelfile's
        pass
    found = Turns(before, after, opening.removesuffix(before_user), prompt)
    _expect_same(found, tokenizer)
    return found


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], **options: Any) -> str:
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)
    except (TemplateError, ValueError, TypeError) as error:
        raise Inexpressible(f"it refuses a conversation: {str(error).splitlines()[0][:100]}") from None


def conversations(roles: tuple[str, ...] = ROLES) -> list[list[dict[str, str]]]:
    """Conversations of one to five messages, and as many behind a system message, with each content in each place."""
    made = []
    for length, shift in itertools.product(range(1, 6), range(len(CONTENTS))):
        for system in ([], ["system"]) if "system" in roles else ([],):
            order = [*system, *itertools.islice(itertools.cycle(["user", "assistant"]), length)]
            contents = itertools.islice(itertools.cycle(CONTENTS), shift, None)
            made.append([{"role": role, "content": next(contents)} for role in order])
    return made


def _expect_same(found: Turns, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise Inexpressible unless all conversations are rendered alike, which `continue_final_message` leaves open."""
    for messages in conversations(tuple(found.before)):
        open_end = messages[-1]["role"] == "assistant"
        if open_end and not messages[-1]["content"].strip():
            continue  # transformers has nothing to go on with there
        options = {"continue_final_message": True} if open_end else {"add_generation_prompt": True}
        wanted = _rendered(tokenizer, messages, **options)
        if found.render(messages) != wanted:
            roles = ", ".join(message["role"] for message in messages)
            raise Inexpressible(f"it does more than put fixed text around messages ({roles})")


def modelfile(tokenizer: PreTrainedTokenizerBase, file: str) -> str:
    """The Modelfile for the GGUF file of that name beside it. Raises Inexpressible where there is no right one."""
    template = turns(tokenizer).go_template()
    stops = [tokenizer.convert_ids_to_tokens(number) for number in end_ids(tokenizer)]
    if '"""' in template or any('"' in stop or not stop.isprintable() for stop in stops):
        raise Inexpressible("a Modelfile has no way to quote it")
    lines = [f"FROM ./{file}", f'TEMPLATE """{template}"""', *(f'PARAMETER stop "{stop}"' for stop in stops)]
    return "\n".join(lines) + "\n"
