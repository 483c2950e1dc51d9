"""A program as a one-line request in English, in one of two wordings per operation."""

import random

from stages.sources.synthetic.operations import Constant, Program

FUNCTION_NAMES = ("run", "solve", "apply", "compute", "process", "convert", "handle", "f")
ARGUMENTS = {"list": "xs", "string": "s"}

LIST_STEPS = {
    "add": ("add {k} to each number", "increase each number by {k}"),
    "subtract": ("subtract {k} from each number", "decrease each number by {k}"),
    "multiply": ("multiply each number by {k}", "scale each number by {k}"),
    "double": ("double each number", "add each number to itself"),
    "square": ("square each number", "multiply each number by itself"),
    "negate": ("negate each number", "flip the sign of each number"),
    "absolute": ("take the absolute value of each number", "drop the sign of each number"),
    "modulo": ("take each number modulo {k}", "reduce each number modulo {k}"),
    "take_first": ("take the first {k} items", "keep only the first {k} items"),
    "take_last": ("take the last {k} items", "keep only the last {k} items"),
    "drop_first": ("drop the first {k} items", "remove the first {k} items"),
    "drop_last": ("drop the last {k} items", "remove the last {k} items"),
    "reverse": ("reverse the list", "put the items in reverse order"),
    "sort_up": ("sort in ascending order", "sort from smallest to largest"),
    "sort_down": ("sort in descending order", "sort from largest to smallest"),
    "positive": ("keep the positive numbers", "keep only numbers above zero"),
    "greater": ("keep the numbers greater than {k}", "keep only numbers above {k}"),
    "less": ("keep the numbers less than {k}", "keep only numbers below {k}"),
    "even": ("keep the even numbers", "remove the odd numbers"),
    "odd": ("keep the odd numbers", "remove the even numbers"),
    "every_second": ("keep every second item from the first on", "take every other item from the first on"),
}
LIST_FINALS = {
    "itself": ("the list", "the resulting list"),
    "sum": ("the sum", "the total"),
    "minimum": ("the minimum (0 if empty)", "the smallest number (0 if empty)"),
    "maximum": ("the maximum (0 if empty)", "the largest number (0 if empty)"),
    "length": ("the number of items", "how many items there are"),
    "first": ("the first item (0 if empty)", "the item at the front (0 if empty)"),
    "last": ("the last item (0 if empty)", "the item at the end (0 if empty)"),
}
STRING_STEPS = {
    "upper": ("convert to upper case", "make every letter upper case"),
    "lower": ("convert to lower case", "make every letter lower case"),
    "swap_case": ("swap the case of each letter", "swap upper and lower case"),
    "reverse": ("reverse the string", "put the characters in reverse order"),
    "take_first": ("take the first {k} characters", "keep only the first {k} characters"),
    "take_last": ("take the last {k} characters", "keep only the last {k} characters"),
    "drop_first": ("drop the first {k} characters", "remove the first {k} characters"),
    "drop_last": ("drop the last {k} characters", "remove the last {k} characters"),
    "every_second": ("keep every second character from the first on", "take every other character from the first on"),
    "sort": ("sort the characters", "put the characters in ascending order"),
    "replace": ('replace every "{k[0]}" with "{k[1]}"', 'change each "{k[0]}" to "{k[1]}"'),
    "remove": ('remove every "{k}"', 'delete each "{k}"'),
    "append": ('append "{k}"', 'add "{k}" at the end'),
    "prepend": ('prepend "{k}"', 'add "{k}" at the front'),
    "repeat": ("repeat the string {k} times", "write the string {k} times in a row"),
}
STRING_FINALS = {
    "itself": ("the string", "the resulting string"),
    "length": ("the length", "how many characters there are"),
    "count": ('how often "{k}" occurs', 'the number of times "{k}" occurs'),
    "distinct": ("the number of distinct characters", "how many different characters there are"),
    "first": ('the first character ("" if empty)', 'the character at the front ("" if empty)'),
}
STEPS = {"list": LIST_STEPS, "string": STRING_STEPS}
FINALS = {"list": LIST_FINALS, "string": STRING_FINALS}


def request(program: Program, name: str, rng: random.Random) -> str:
    """The request for a function called `name`; `rng` picks the wordings."""

    def word(phrases: tuple[str, str], constant: Constant) -> str:
        return rng.choice(phrases).format(k=constant)

    category = program.category.name
    steps = ", ".join(word(STEPS[category][step.kind.name], step.constant) for step in program.steps)
    final = word(FINALS[category][program.final.kind.name], program.final.constant)
    return f"Write {name}({ARGUMENTS[category]}): {steps}, then return {final}."
