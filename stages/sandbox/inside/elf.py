"""The symbols of an object file: which of a list of functions and objects a compiled program brings along itself.

Reads what a compiler has made of untrusted text, so a file may be garbage. Runs inside the sandbox and imports the
standard library alone.
"""

import struct

SYMBOL_TABLE, FUNCTION_KINDS, UNDEFINED = 2, (1, 2, 10), 0  # SHT_SYMTAB; STT_OBJECT, STT_FUNC, STT_GNU_IFUNC
# By class (32 or 64 bit): offset of e_shoff and its form, offset of e_shentsize; section header; symbol.
FORMS = {
    1: (32, "I", 46, "IIIIIIIIII", "IIIBBH"),
    2: (40, "Q", 58, "IIQQQQIIQQ", "IBBHQQ"),
}


def defined(path: str, names: list[str]) -> list[str]:
    """Those of `names` that the ELF object file at `path` defines, in any binding. ValueError for what is none."""
    with open(path, "rb") as file:
        data = file.read()
    wanted = {name.encode() for name in names}
    try:
        found = {name for name in _defined(data) if name in wanted}
    except (struct.error, KeyError, IndexError) as error:
        raise ValueError(f"no object file: {error}") from None
    return sorted(name.decode() for name in found)


def _defined(data: bytes) -> set[bytes]:
    if data[:4] != b"\x7fELF":
        raise ValueError("no object file")
    order = "<" if data[5] == 1 else ">"
    at, form, size_at, header, symbol = FORMS[data[4]]
    start = struct.unpack_from(order + form, data, at)[0]
    size, count = struct.unpack_from(order + "HH", data, size_at)
    if count == 0:  # too many to be counted there
        count = struct.unpack_from(order + header, data, start)[5]
    sections = [struct.unpack_from(order + header, data, start + number * size) for number in range(count)]
    names = set()
    for section in sections:
        if section[1] == SYMBOL_TABLE:
            strings = sections[section[6]]
            text = data[strings[4] : strings[4] + strings[5]]
            block = data[section[4] : section[4] + section[5]]
            names |= _names(block, text, order + symbol)
    return names


def _names(block: bytes, text: bytes, form: str) -> set[bytes]:
    names = set()
    wide = form.endswith("QQ")
    whole = len(block) - len(block) % struct.calcsize(form)
    for row in struct.iter_unpack(form, block[:whole]):
        info, section = (row[1], row[3]) if wide else (row[3], row[5])
        if section != UNDEFINED and info & 15 in FUNCTION_KINDS:
            names.add(text[row[0] : text.index(b"\0", row[0])])
    return names
