"""The symbols of an object file, ELF or COFF: which of a list of names a compiled program brings along itself.

Reads what a compiler has made of untrusted text, so a file may be garbage. Runs inside the sandbox and imports the
standard library alone.
"""

import struct
from collections.abc import Iterator

SYMBOL_TABLE, KINDS, UNDEFINED = 2, (1, 2, 10), 0  # SHT_SYMTAB; STT_OBJECT, STT_FUNC, STT_GNU_IFUNC
# By class (32 or 64 bit): e_shoff and its form, e_shentsize; a section header; a symbol.
ELF_FORMS = {1: (32, "I", 46, "IIIIIIIIII", "IIIBBH"), 2: (40, "Q", 58, "IIQQQQIIQQ", "IBBHQQ")}
COFF_MACHINES = (0x8664, 0x14C, 0xAA64)
COFF_SYMBOL, COFF_WEAK = 18, 105  # bytes; IMAGE_SYM_CLASS_WEAK_EXTERNAL, whose value stands elsewhere


def defined(path: str, names: list[str]) -> list[str]:
    """Those of `names` that the object file at `path` defines, in any binding. ValueError for what is none."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        symbols = _of_elf(data) if data[:4] == b"\x7fELF" else _of_coff(data)
        return sorted(set(names) & {name.decode(errors="replace") for name in symbols})
    except (struct.error, KeyError, IndexError) as error:
        raise ValueError(f"no object file: {error}") from None


def _of_elf(data: bytes) -> Iterator[bytes]:
    order = "<" if data[5] == 1 else ">"
    at, form, size_at, header, symbol = ELF_FORMS[data[4]]
    start = struct.unpack_from(order + form, data, at)[0]
    size, count = struct.unpack_from(order + "HH", data, size_at)
    if count == 0:  # too many to be counted there
        count = struct.unpack_from(order + header, data, start)[5]
    sections = [struct.unpack_from(order + header, data, start + number * size) for number in range(count)]
    for section in sections:
        if section[1] != SYMBOL_TABLE:
            continue
        strings = sections[section[6]]
        text = data[strings[4] : strings[4] + strings[5]]
        block = data[section[4] : section[4] + section[5]]
        whole = len(block) - len(block) % struct.calcsize(order + symbol)
        for row in struct.iter_unpack(order + symbol, block[:whole]):
            info, index = (row[1], row[3]) if symbol.endswith("QQ") else (row[3], row[5])
            if index != UNDEFINED and info & 15 in KINDS:
                yield text[row[0] : text.index(b"\0", row[0])]


def _of_coff(data: bytes) -> Iterator[bytes]:
    machine, _, _, start, count = struct.unpack_from("<HHIII", data)
    if machine not in COFF_MACHINES or start == 0:
        raise ValueError("no object file")
    strings = start + count * COFF_SYMBOL
    number = 0
    while number < count:
        name, _, section, _, kind, more = struct.unpack_from("<8sIhHBB", data, start + number * COFF_SYMBOL)
        if section != UNDEFINED or kind == COFF_WEAK:
            if name[:4] == b"\0\0\0\0":
                at = strings + struct.unpack("<I", name[4:])[0]
                name = data[at : data.index(b"\0", at)]
            yield name.rstrip(b"\0")
        number += 1 + more
