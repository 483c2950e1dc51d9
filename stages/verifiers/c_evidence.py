"""C and C++ that goes behind a solution and around its tests; c_unit.py puts it together. In braces: random names."""

import re

REPORT_BYTES = 256
# A replacement of <assert.h>, found before the system's. It is the system's until the tests begin.
ASSERT_HEADER = """\
#include_next <assert.h>
#ifdef FORGE_FAILED
#undef assert
#define assert(...) FORGE_ASSERT((__VA_ARGS__), #__VA_ARGS__)
#endif
"""
# System calls without the library's functions, which a solution may have brought along itself. A report is the token,
# its kind (Passed, Failed, Exception), a line number and text.
REPORT = """\
#if defined __linux__ && defined __x86_64__
static __inline__ long {call}(long number, long first, const void *second, long third) {{
    long result;
    __asm__ volatile ("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(third)
                      : "rcx", "r11", "memory");
    return result;
}}
#define FORGE_SEND(bytes, count) {call}(1, 3, bytes, count)
#define FORGE_LEAVE() for (;;) {call}(231, 1, 0, 0)
#elif defined __linux__ && defined __aarch64__
static __inline__ long {call}(long number, long first, const void *second, long third) {{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = first;
    register const void *x1 __asm__("x1") = second;
    register long x2 __asm__("x2") = third;
    __asm__ volatile ("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}}
#define FORGE_SEND(bytes, count) {call}(64, 3, bytes, count)
#define FORGE_LEAVE() for (;;) {call}(94, 1, 0, 0)
#elif defined _WIN32
#include <fcntl.h>
#include <io.h>
#include <process.h>
#define FORGE_SEND(bytes, count) (_setmode(2, _O_BINARY), _write(2, bytes, count))
#define FORGE_LEAVE() for (;;) _exit(1)
#else
#error tests are compiled in on x86_64 and aarch64 only
#endif
static __attribute__((noinline, cold)) void {report}(char kind, const char *what, long line) {{
    volatile unsigned char bytes[{size}];
    unsigned long long token[2];
    int at = 0, shift = 24;
    token[0] = 0x{first}ull, token[1] = 0x{second}ull;
    for (; at < 16; at++) bytes[at] = (unsigned char)(token[at / 8] >> at % 8 * 8);
    bytes[at++] = (unsigned char)kind;
    for (; shift >= 0; shift -= 8) bytes[at++] = (unsigned char)(line >> shift);
    while (what && *what && at < {size}) bytes[at++] = (unsigned char)*what++;
    FORGE_SEND((const void *)bytes, at);
}}
static __attribute__((noinline, cold, noreturn)) void {failed}(const char *what, long line) {{
    {report}('F', what, line);
    FORGE_LEAVE();
}}
"""
ASSERT_C = "#define FORGE_ASSERT(value, text) ((value) ? (void)0 : FORGE_FAILED(text, __LINE__))\n"
ASSERT_CPP = "#define FORGE_ASSERT(value, text) (static_cast<bool> value ? void(0) : FORGE_FAILED(text, __LINE__))\n"
# Operators that a solution declares outside its classes, for types that are not its own, are out of sight here.
ASSERT_HIDING = """\
namespace {hidden} {{
struct none;
bool operator==(none &, none &);
bool operator!=(none &, none &);
}}
#define FORGE_ASSERT(value, text)                                                                  \\
    (__extension__({{ using ::{hidden}::operator==; using ::{hidden}::operator!=; static_cast<bool> value; }}) \\
         ? void(0) : FORGE_FAILED(text, __LINE__))
"""
# A result of a class of its own that compares with anything, or with numbers and text, claims to equal what it is not.
HONEST = """\
namespace {honest} {{
struct alien {{}};
template <class T> T &some();
struct yes {{ char size; }};
struct no {{ char size[2]; }};
template <class T, class A> auto equals(int) -> decltype(some<T>() == some<A>(), yes());
template <class T, class A> no equals(...);
template <class T, class A> auto differs(int) -> decltype(some<T>() != some<A>(), yes());
template <class T, class A> no differs(...);
template <class T, class A> struct compares {{
    static const bool value = sizeof(equals<T, A>(0)) == sizeof(yes) || sizeof(differs<T, A>(0)) == sizeof(yes);
}};
constexpr bool starts(const char *name) {{
    return name[0] == 's' && name[1] == 't' && name[2] == 'd' && name[3] == ':';
}}
constexpr const char *behind(const char *text) {{
    return !*text ? text : text[0] == 'T' && text[1] == ' ' && text[2] == '=' ? text + 4 : behind(text + 1);
}}
template <class T> constexpr bool foreign() {{ return starts(behind(__PRETTY_FUNCTION__)); }}
template <class T, bool> struct claims {{ static const bool value = false; }};
template <class T> struct claims<T, true> {{
    static const bool value = compares<T, alien>::value || (!foreign<T>() && (compares<T, int>::value ||
        compares<T, double>::value || compares<T, const char *>::value));
}};
template <class T> struct plain {{ typedef T type; }};
template <class T> struct plain<T &> {{ typedef T type; }};
template <class T> struct plain<T &&> {{ typedef T type; }};
template <class T> struct plain<const T> {{ typedef T type; }};
template <class T> struct plain<const T &> {{ typedef T type; }};
template <class T> inline void result() {{
    typedef typename plain<T>::type type;
    static_assert(!claims<type, __is_class(type)>::value, "a result that claims to equal what it is not");
}}
}}
"""
START = """\
{linkage}int {theirs}(int, char **, char **) __asm__("{symbol}");
{linkage}int {ours}(int, char **, char **) __asm__("main");
{linkage}int {ours}(int count, char **arguments, char **environment) {{
    int code = 1;
{call_theirs}
    if (code == 0) {report}('P', 0, 0);
    return code;
}}
"""
CALL_C = "    code = {theirs}(count, arguments, environment);"
CALL_CPP = """\
#if defined __cpp_exceptions || defined __EXCEPTIONS
    try {{
        code = {theirs}(count, arguments, environment);
    }} catch (const ::std::exception &error) {{
        {report}('E', error.what(), 0);
        FORGE_LEAVE();
    }} catch (...) {{
        {report}('E', 0, 0);
        FORGE_LEAVE();
    }}
#else
    code = {theirs}(count, arguments, environment);
#endif"""
OWN_MACROS = ("FORGE_FAILED", "FORGE_ASSERT", "FORGE_SEND", "FORGE_LEAVE")


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d]\w*", text))


# Macros of a solution's that would change what stands here.
OWN_WORDS = _words(REPORT + ASSERT_HIDING + HONEST + START + CALL_CPP + "extern")
# Functions by which the run-time libraries and this text judge. A solution that brings its own is none.
RUN_TIME = _words(
    """__assert_fail __assert __assert_perror_fail __cxa_throw __cxa_begin_catch __cxa_end_catch __cxa_atexit
    __cxa_allocate_exception __cxa_rethrow __gxx_personality_v0 _Unwind_RaiseException _Unwind_Resume _ZSt9terminatev
    _exit _Exit __libc_start_main __stack_chk_fail memcmp bcmp memcpy memmove memset strlen strcmp wmemcmp wcslen
    __asan_default_options __ubsan_default_options __asan_on_error __asan_report_error __ubsan_on_report
    __sanitizer_set_death_callback __asan_default_suppressions __ubsan_default_suppressions _start _init _fini"""
)
# And these, where the tests use them.
REPLACEABLE = _words(
    """abs labs llabs imaxabs fabs fabsf fabsl fmax fmin fmod round lround floor ceil sqrt pow isnan isinf isfinite
    __isnan __isinf __finite signbit strncmp strcasecmp strncasecmp strcoll strstr strchr strrchr strnlen strspn
    strcspn wcscmp wcsncmp memchr abort exit quick_exit atexit printf fprintf puts perror malloc free calloc realloc
    qsort bsearch setjmp longjmp raise signal"""
)
KEYWORDS = _words(
    """if for while switch catch sizeof decltype alignof alignas return static_assert noexcept typeid throw new delete
    defined assert main operator and or not xor int char bool double float long short unsigned signed void auto
    static_cast const_cast reinterpret_cast dynamic_cast _Static_assert _Alignof typeof __typeof__"""
)
