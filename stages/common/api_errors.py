"""Errors that servers send with HTTP status 200: proxies, and servers that had begun to answer, do.

What counts as one is a body without an answer (`choices`, or Anthropic's `content`) that tells of an error in one of
the forms in use. Its status is the one that it names, or the one that its kind usually has.
"""

import json
import re
from typing import Any

LONGEST_LINES = 10_000  # of a streamed body that are looked at
# By words in an error's code and type; the first that is found counts.
STATUS_OF = (
    (r"quota|billing|insufficient|payment|credit", 402),
    (r"rate.?limit|too.?many|throttl|resource.?exhausted", 429),
    (r"overload|unavailable|capacity", 503),
    (r"auth|api.?key|unauthori[sz]ed", 401),
    (r"permission|forbidden", 403),
    (r"not.?found|invalid|bad.?request|context.?length|unsupported|unprocessable", 400),
)
NO_MODEL = re.compile(r"\bmodel\b.{0,100}\b(?:not found|does not exist|not exist|unknown)\b", re.IGNORECASE | re.DOTALL)
CUT_ERROR = re.compile(r'\s*(?:data:\s*)?\{\s*"error"\s*:')


def error_in(body: str) -> tuple[int, str] | None:
    """The status and the words of the error that a body tells of; None where it may be an answer.

    A body may be one JSON value, a stream of them (server-sent events or lines), or an error cut short.
    """
    try:
        return _of_value(json.loads(body))
    except (ValueError, RecursionError):
        pass
    for line in body.splitlines()[:LONGEST_LINES]:
        try:
            found = _of_value(json.loads(line.removeprefix("data:")))
        except (ValueError, RecursionError):
            continue
        if found:
            return found
    return (500, body.strip()) if CUT_ERROR.match(body) else None


def _of_value(value: Any) -> tuple[int, str] | None:
    if isinstance(value, list) and value:
        value = value[0]  # Google's form
    if not isinstance(value, dict) or value.get("choices") or value.get("content"):
        return None
    if error := value.get("error"):
        return _status(error, value), _words(error)
    if value.get("object") == "error" or value.get("type") == "error":
        return _status(value, {}), _words(value)
    if detail := value.get("detail"):
        return _status(value, {}), _words(detail)
    if "message" in value and {"code", "status"} & value.keys():
        return _status(value, {}), _words(value)
    return None


def _status(error: Any, around: dict[str, Any]) -> int:
    fields = [part.get(name) for part in (error, around) if isinstance(part, dict) for name in ("code", "status")]
    for field in fields:
        number = int(field) if isinstance(field, str) and re.fullmatch(r"\d{3}", field) else field
        if isinstance(number, int) and 400 <= number <= 599:
            return number
    kind = error.get("type") if isinstance(error, dict) else None
    named = " ".join(str(field) for field in (*fields, kind) if isinstance(field, str))
    # A text may be about anything, so names decide, but for a model that is not there; what is not known may pass.
    unknown = 404 if NO_MODEL.search(_words(error)[:1000]) else 500
    return next((status for pattern, status in STATUS_OF if re.search(pattern, named, re.IGNORECASE)), unknown)


def _words(error: Any) -> str:
    if not isinstance(error, dict):
        return error if isinstance(error, str) else json.dumps(error)
    message, metadata = error.get("message"), error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None  # OpenRouter's: what the provider said
    told = [text for text in (message, raw) if isinstance(text, str) and text.strip()]
    return ": ".join(told) or json.dumps(error)
