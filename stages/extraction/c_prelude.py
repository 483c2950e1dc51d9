"""What a prompt in C or C++ brings to code that defines the entry point, and where in the code that belongs.

Includes go to the front. Another item goes behind those of the code that the prompt has before it, such as a type that
the code says again, and before what uses it. Nothing that the code has is defined once more.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stages.extraction.tree_source import CONTAINERS, Item, TreeSource

USING = re.compile(r"using\s+namespace\s+\w+(?:::\w+)*\s*;")
WORD = re.compile(r"[^\W\d]\w*")
LEADING = {"preproc_include", "preproc_call", "preproc_def", "preproc_function_def", "using_declaration"}
# Names that answers take from `std`, and those that they like to give to things of their own.
STANDARD = frozenset(
    re.findall(
        r"\w+",
        """
    string wstring string_view vector array deque list forward_list set multiset map multimap unordered_set
    unordered_map unordered_multiset unordered_multimap stack queue priority_queue bitset pair tuple optional variant
    any function complex valarray shared_ptr unique_ptr weak_ptr thread mutex cin cout cerr clog endl flush ws getline
    istream ostream iostream ifstream ofstream fstream stringstream istringstream ostringstream fixed setprecision setw
    setfill hex dec oct boolalpha left right scientific numeric_limits initializer_list exception runtime_error
    logic_error invalid_argument out_of_range nullopt make_pair make_tuple make_shared make_unique make_optional tie get
    move swap forward ref cref bind sort stable_sort partial_sort nth_element reverse rotate shuffle unique remove
    remove_if erase_if find find_if find_if_not count count_if search equal mismatch copy copy_if copy_n fill fill_n
    generate transform replace replace_if for_each all_of any_of none_of min max minmax min_element max_element
    minmax_element clamp accumulate reduce partial_sum inner_product adjacent_difference adjacent_find iota gcd lcm
    midpoint lower_bound upper_bound equal_range binary_search merge inplace_merge includes set_union set_difference
    set_intersection next_permutation prev_permutation is_sorted is_permutation partition stable_partition push_heap
    pop_heap make_heap sort_heap lexicographical_compare begin end rbegin rend cbegin cend next prev advance distance
    size empty data back_inserter front_inserter inserter ostream_iterator istream_iterator istreambuf_iterator
    reverse_iterator greater less greater_equal less_equal plus minus multiplies divides modulus equal_to hash to_string
    stoi stol stoll stoul stoull stof stod stold isalpha regex smatch regex_match regex_search regex_replace
    sregex_iterator chrono ratio random_device mt19937 mt19937_64 uniform_int_distribution byte span rank common
    """,
    )
)


@dataclass(frozen=True)
class Part:
    """An item at the outermost level: with the names that it and the items in it define, and all words in it."""

    item: Item
    text: str
    key: str  # the text without white space
    names: frozenset[str]
    words: frozenset[str]
    inner: tuple[Item, ...]

    @property
    def is_include(self) -> bool:
        """`#include`."""
        return self.item.kind == "preproc_include"

    @property
    def is_using(self) -> bool:
        """`using namespace`."""
        return USING.fullmatch(self.text.strip()) is not None


def parts_of(text: TreeSource) -> list[Part]:
    """The outermost items in their order."""
    groups: list[list[Item]] = []
    end = 0
    for item in text.items:
        if item.start >= end:
            groups.append([item])
            end = item.end
        else:
            groups[-1].append(item)
    parts = []
    for item, *inner in groups:
        said = text.data[item.start : item.end].decode("utf-8", "replace")
        names = frozenset(name for one in (item, *inner) for name in one.names)
        key, words = re.sub(r"\s+", "", said), frozenset(WORD.findall(said))
        parts.append(Part(item, said, key, names, words, tuple(inner)))
    return parts


def around(known: TreeSource, own: TreeSource, path: tuple[str, ...]) -> str:
    """`own`, which defines the entry point, with the items of `known`, a prompt's beginning, that it lacks."""
    brought, given = parts_of(known), parts_of(own)
    definition = own.definition(path)
    entry = next((part for part in given if definition and part.item.start <= definition.start < part.item.end), None)
    taken = frozenset(name for part in given for name in part.names)
    inner = frozenset(re.sub(r"\s+", "", text) for text in _inner_texts(given, own))
    said = frozenset(part.key for part in given) | inner
    missing = [part for part in brought if not _is_there(part, taken, said, own, entry)]
    if not missing:
        return own.text
    leading = _leading(given)
    if any(not part.is_include and not part.is_using for part in missing):  # they need what is before them
        early = {part.key for part in leading}
        missing = [
            part
            for part in brought
            if part in missing or ((part.is_include or part.is_using) and part.key not in early)
        ]
    late = [part for part in missing if part.is_using] if _clashes(own, path, taken, missing) else []
    placed = _Places(given, leading, entry, known.names & taken) if own.whole else None
    blank = known.without([one for part in missing for one in part.inner if set(one.names) & taken])
    data = blank.encode("utf-8", "surrogatepass")
    inserts = [
        (placed.of(part, brought) if placed else 0, data[part.item.start : part.item.end])
        for part in missing
        if part not in late
    ]
    behind = "".join(f"\n{part.text}\n" for part in late)
    return _inserted(own.data, inserts).decode("utf-8", "surrogatepass") + behind


def _inner_texts(given: list[Part], own: TreeSource) -> Iterator[str]:
    """The texts of items inside of others, such as an `#include` under `#if`; each of them once."""
    for part in given:
        for item in part.inner:
            if item.kind not in CONTAINERS and not item.names:
                yield own.data[item.start : item.end].decode("utf-8", "replace")


def _is_there(part: Part, taken: frozenset[str], said: frozenset[str], own: TreeSource, entry: Part | None) -> bool:
    """Whether code has an item of the prompt's: by its names where it defines some, else word for word."""
    if part.item.names:
        return any(name in taken for name in part.item.names)
    if part.names and part.names <= taken:
        return True
    if part.item.declared and all(name in taken for name in part.item.declared):  # prototypes of what it defines
        found = [item for item in own.items if set(item.names) & set(part.item.declared)]
        static = any(own.data[item.start : item.end].startswith(b"static") for item in found)
        return part.key in said or static or all(entry and item.start <= entry.item.start for item in found)
    return part.key in said


def _leading(given: list[Part]) -> list[Part]:
    """The directives and `using` that code begins with."""
    leading = []
    for part in given:
        if part.item.kind not in LEADING and not part.is_using:
            break
        leading.append(part)
    return leading


def _clashes(own: TreeSource, path: tuple[str, ...], taken: frozenset[str], missing: list[Part]) -> bool:
    """Whether `using namespace std` would make code ambiguous that does not need it.

    Such code qualifies its names, has names of its own that the library has too, and takes none from there unqualified.
    """
    if any(part.names and not part.item.kind.startswith("preproc") for part in missing):
        return False  # helpers of the prompt, written with it
    others = taken - frozenset(path)
    return "std" in own.used and bool(others & STANDARD) and not (own.used - taken) & STANDARD


class _Places:
    """Where in code what it lacks belongs."""

    def __init__(self, given: list[Part], leading: list[Part], entry: Part | None, shared: frozenset[str]) -> None:
        first = next((part for part in leading if part.is_include), None)
        self._front = first.item.start if first else 0
        self._given = {part.key: part.item.end for part in leading if part.is_include or part.is_using}
        self._last = entry.item.start if entry else max((part.item.end for part in given), default=0)
        self._defined: dict[str, list[int]] = {}
        self._used: dict[str, int] = {}
        for part in given:
            for name in part.names & shared:
                self._defined.setdefault(name, []).append(part.item.end)
            for word in part.words:
                self._used.setdefault(word, part.item.start)
        self._moved: dict[str, int] = {}
        # All but includes comes behind those of the code, which know nothing of its macros.
        self._floor = max((part.item.end for part in leading if part.is_include), default=self._front)
        self._seen = 0

    def of(self, part: Part, brought: list[Part]) -> int:
        """Where a missing item goes; they are asked for in the order of the prompt."""
        self._pass(part, brought)
        if part.is_include:
            return self._front
        if not part.names and not part.item.declared:
            return self._floor
        names = part.names | set(part.item.declared)
        end = min([self._last, *(self._used[name] for name in names if name in self._used)])
        places = [at for word in part.words for at in self._defined.get(word, ()) if at <= end]
        places += [self._moved[word] for word in part.words if word in self._moved]
        place = max([self._floor, *places])
        self._moved |= dict.fromkeys(names, place)
        return place

    def _pass(self, part: Part, brought: list[Part]) -> None:
        """What the prompt has before an item, and the code has too, comes before it there as well."""
        while self._seen < len(brought):
            before = brought[self._seen]
            self._floor = max(self._floor, self._given.get(before.key, 0))
            self._seen += 1
            if before is part:
                break


def _inserted(data: bytes, inserts: list[tuple[int, bytes]]) -> bytes:
    """Texts put in at their places, on lines of their own, those of one place in their order."""
    pieces, at = [], 0
    for place, text in sorted(inserts, key=lambda insert: insert[0]):
        pieces.append(data[at:place])
        if place and data[place - 1 : place] != b"\n" and place != at:
            pieces.append(b"\n")
        pieces.append(text.rstrip(b"\n") + b"\n")
        at = place
    return b"".join([*pieces, data[at:]])
