"""What the standard headers define as macros, said once more for tests.

The macros of a solution are taken back before its tests, also one of those names that it may define where no header
has (`#ifndef NULL`). A header that has been read once does not define it again, so it is defined here, always in
the same way: the solution has no say in it.
"""

from collections.abc import Iterable

from stages.verifiers.c_text import CText

ANYWHERE = {
    "EXIT_SUCCESS": "0",
    "EXIT_FAILURE": "1",
    "EOF": "(-1)",
    "CHAR_BIT": "8",
    "SCHAR_MAX": "127",
    "SCHAR_MIN": "(-127 - 1)",
    "UCHAR_MAX": "255",
    "SHRT_MAX": "32767",
    "SHRT_MIN": "(-32767 - 1)",
    "USHRT_MAX": "65535",
    "INT_MAX": "2147483647",
    "INT_MIN": "(-2147483647 - 1)",
    "UINT_MAX": "4294967295U",
    "LLONG_MAX": "9223372036854775807LL",
    "LLONG_MIN": "(-9223372036854775807LL - 1)",
    "ULLONG_MAX": "18446744073709551615ULL",
    "INT8_MAX": "(127)",
    "INT8_MIN": "(-127 - 1)",
    "UINT8_MAX": "(255)",
    "INT16_MAX": "(32767)",
    "INT16_MIN": "(-32767 - 1)",
    "UINT16_MAX": "(65535)",
    "INT32_MAX": "(2147483647)",
    "INT32_MIN": "(-2147483647 - 1)",
    "UINT32_MAX": "(4294967295U)",
    "DBL_MAX": "1.7976931348623157e+308",
    "DBL_MIN": "2.2250738585072014e-308",
    "DBL_EPSILON": "2.2204460492503131e-16",
    "DBL_DIG": "15",
    "FLT_MAX": "3.40282347e+38F",
    "FLT_MIN": "1.17549435e-38F",
    "FLT_EPSILON": "1.19209290e-7F",
    "M_E": "2.7182818284590452354",
    "M_LOG2E": "1.4426950408889634074",
    "M_LOG10E": "0.43429448190325182765",
    "M_LN2": "0.69314718055994530942",
    "M_LN10": "2.30258509299404568402",
    "M_PI": "3.14159265358979323846",
    "M_PI_2": "1.57079632679489661923",
    "M_PI_4": "0.78539816339744830962",
    "M_1_PI": "0.31830988618379067154",
    "M_2_PI": "0.63661977236758134308",
    "M_2_SQRTPI": "1.12837916709551257390",
    "M_SQRT2": "1.41421356237309504880",
    "M_SQRT1_2": "0.70710678118654752440",
}
GNU = {
    "LONG_MAX": "__LONG_MAX__",
    "LONG_MIN": "(-__LONG_MAX__ - 1L)",
    "ULONG_MAX": "(__LONG_MAX__ * 2UL + 1UL)",
    "INT64_MAX": "__INT64_MAX__",
    "INT64_MIN": "(-__INT64_MAX__ - 1)",
    "UINT64_MAX": "__UINT64_MAX__",
    "INTPTR_MAX": "__INTPTR_MAX__",
    "PTRDIFF_MAX": "__PTRDIFF_MAX__",
    "SIZE_MAX": "__SIZE_MAX__",
    "RAND_MAX": "2147483647",
    "INFINITY": "(__builtin_inff())",
    "NAN": '(__builtin_nanf(""))',
    "HUGE_VAL": "(__builtin_huge_val())",
    "offsetof": "(type, member) __builtin_offsetof(type, member)",
}
CL = {
    "LONG_MAX": "2147483647L",
    "LONG_MIN": "(-2147483647L - 1)",
    "ULONG_MAX": "4294967295UL",
    "INT64_MAX": "9223372036854775807LL",
    "INT64_MIN": "(-9223372036854775807LL - 1)",
    "UINT64_MAX": "18446744073709551615ULL",
    "SIZE_MAX": "18446744073709551615ULL",
    "RAND_MAX": "32767",
}
BOOLEANS = {"bool": "_Bool", "true": "1", "false": "0"}  # of C before they were keywords

# What other macros of the headers expand to, so that no solution may change it: INT_MIN is made of INT_MAX.
EXPANSIONS = frozenset(ANYWHERE) | frozenset(GNU) | {"_Bool", "NULL"}


def restored(undone: Iterable[str], tests: CText, own: dict[str, str] = GNU) -> str:
    """Definitions of those macros that have been taken back and that the tests do not define; `own`: those of the
    compiler's family."""
    cpp = tests.language == "cpp"
    null = {"NULL": ("__null" if own is GNU else "0") if cpp else "((void *)0)"}
    booleans = {} if cpp or tests.year >= 23 else {name: BOOLEANS[name] for name in BOOLEANS.keys() & tests.words}
    known = {**ANYWHERE, **own, **null, **booleans}
    names = sorted((known.keys() & set(undone)) - tests.macros)
    spaces = {name: "" if known[name].startswith("(type") else " " for name in names}
    return "".join(f"#define {name}{spaces[name]}{known[name]}\n" for name in names)
