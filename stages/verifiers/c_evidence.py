"""C and C++ that goes behind a solution and around its tests; c_unit.py puts it together. In braces: random names."""

import re

REPORT_BYTES = 256
# A replacement of <assert.h>, found before the system's. It is the system's until the tests begin.
ASSERT_HEADER = """\
#include_next <assert.h>
#ifdef FORGE_FAILED
#undef assert
#define assert(...) FORGE_ASSERT(#__VA_ARGS__, __VA_ARGS__)
#endif
"""
# Compiled once. System calls without the library's functions, which a solution may have brought along itself. A report
# is a token, its kind (Passed, Failed, Exception), a line number and text. Only a pass is reported with the token of a
# pass: a program that listens to the report of a failure learns nothing that helps it.
EVIDENCE = """\
#ifdef __cplusplus
#include <exception>
#define LINKAGE extern "C"
#else
#define LINKAGE
#endif
#if defined __linux__ && defined __x86_64__
static long call(long number, long first, const void *second, long third) {
    long result;
    __asm__ volatile ("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(third)
                      : "rcx", "r11", "memory");
    return result;
}
#define SEND(bytes, count) call(1, 3, bytes, count)
#define LEAVE() for (;;) call(231, 1, 0, 0)
#elif defined __linux__ && defined __aarch64__
static long call(long number, long first, const void *second, long third) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = first;
    register const void *x1 __asm__("x1") = second;
    register long x2 __asm__("x2") = third;
    __asm__ volatile ("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#define SEND(bytes, count) call(64, 3, bytes, count)
#define LEAVE() for (;;) call(94, 1, 0, 0)
#elif defined _WIN32
#include <fcntl.h>
#include <io.h>
#include <process.h>
#define SEND(bytes, count) (_setmode(2, _O_BINARY), _write(2, bytes, count))
#define LEAVE() for (;;) _exit(1)
#else
#include <unistd.h>
#define SEND(bytes, count) (void)!write(3, bytes, count)
#define LEAVE() for (;;) _exit(1)
#endif
typedef unsigned long long word;
static void report(word first, word second, char kind, const char *what, long line) {
    volatile unsigned char bytes[REPORT_BYTES];
    int at, shift;
    for (at = 0; at < 16; at++) bytes[at] = (unsigned char)((at < 8 ? first : second) >> at % 8 * 8);
    bytes[at++] = (unsigned char)kind;
    for (shift = 24; shift >= 0; shift -= 8) bytes[at++] = (unsigned char)(line >> shift);
    while (what && *what && at < REPORT_BYTES) bytes[at++] = (unsigned char)*what++;
    SEND((const void *)bytes, at);
    for (at = 0; at < 16; at++) bytes[at] = 0;
}
LINKAGE __attribute__((noreturn)) void forge_failed(word first, word second, const char *what, long line) {
    report(first, second, 'F', what, line);
    LEAVE();
}
typedef int (*main_function)(int, char **, char **);
LINKAGE int forge_run(main_function tests, word first, word second, word third, word fourth,
                      int count, char **arguments, char **environment) {
    int code;
#if defined __cpp_exceptions || defined __EXCEPTIONS
    try {
        code = tests(count, arguments, environment);
    } catch (const std::exception &error) {
        report(third, fourth, 'E', error.what(), 0);
        LEAVE();
    } catch (...) {
        report(third, fourth, 'E', 0, 0);
        LEAVE();
    }
#else
    code = tests(count, arguments, environment);
#endif
    if (code == 0) report(first, second, 'P', 0, 0);
    return code;
}
""".replace("REPORT_BYTES", str(REPORT_BYTES))
FAILED = """\
{linkage}__attribute__((__noreturn__)) void {fail}(unsigned long long, unsigned long long, const char *, long)
    __asm__("forge_failed");
static __attribute__((__noinline__, __cold__, __noreturn__)) void {failed}(const char *what, long line) {{
    {fail}(0x{third}ull, 0x{fourth}ull, what, line);
}}
"""
ASSERT = """\
#define FORGE_LOOK_AT(...)
#define FORGE_ASSERT(text, ...)                                                                    \\
    ((FORGE_LOOK_AT(__VA_ARGS__) {value}) ? (void)0 : FORGE_FAILED(text, __LINE__))
"""
VALUE_C, VALUE_CPP = "(__VA_ARGS__)", "static_cast<bool>(__VA_ARGS__)"
# Operators that a solution declares outside its classes, for types that are not its own, are out of sight here.
HIDING = """\
namespace {hidden} {{
struct none;
bool operator==(none &, none &);
bool operator!=(none &, none &);
}}
"""
VALUE_HIDING = """\
__extension__({{ using ::{hidden}::operator==; using ::{hidden}::operator!=; static_cast<bool>(__VA_ARGS__); }})"""
# Of a solution's own classes, those that the tests do not name are strange to them. An assertion does not compare such
# a class with another type, and no function's result is of one that compares with numbers, text, or anything: it would
# claim to equal what it is not. Nothing here is evaluated.
HONEST = """\
namespace {honest} {{
constexpr bool is_part(char c) {{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}}
constexpr bool begins(const char *text, const char *name) {{
    for (; *name; ++name, ++text) if (*text != *name) return false;
    return !is_part(*text);
}}
constexpr bool has(const char *text, const char *name) {{
    for (bool inside = false; *text; inside = is_part(*text), ++text) if (!inside && begins(text, name)) return true;
    return false;
}}
template <class T> constexpr const char *name() {{
    const char *text = __PRETTY_FUNCTION__;
    while (*text && !(text[0] == 'T' && text[1] == ' ' && text[2] == '=')) ++text;
    return *text ? text + 4 : text;
}}
template <class T> constexpr bool is_strange(bool is_class) {{
    const char *text = name<T>();
    if (text[0] == 'c' && begins(text, "const")) text += 6;
    const char *const others[] = {{{unnamed} "!"}}, *const owns[] = {{{named} "!"}};
    for (const char *other : others) if (has(text, other)) return true;
    if (!is_class || begins(text, "std") || begins(text, "__gnu_cxx")) return false;
    for (const char *own : owns) if (begins(text, own)) return false;
    return true;
}}
// Of a container of the library: where the arguments begin that say how it compares, and not what it holds.
constexpr int policies(const char *word) {{
    return begins(word, "map") || begins(word, "multimap") || begins(word, "unordered_map")
        || begins(word, "unordered_multimap") ? 2 : 1;
}}
template <class T> constexpr bool is_steered() {{
    const char *text = name<T>(), *const others[] = {{{unnamed} "!"}};
    if (text[0] == 'c' && begins(text, "const")) text += 6;
    if (!begins(text, "std")) return false;
    const char *word = text;
    for (; *text && *text != '<'; ++text) if (*text == ':') word = text + 1;
    if (begins(word, "pair") || begins(word, "tuple") || begins(word, "variant")) return false;
    for (int depth = 0, argument = 0; *text; ++text) {{
        depth += (*text == '<' || *text == '(') - (*text == '>' || *text == ')');
        if (depth == 0) return false;
        if (*text != ',' || depth > 1 || ++argument < policies(word)) continue;
        for (const char *other : others) if (has(text, other)) return true;
    }}
    return false;
}}
template <class T> struct strange {{
    static constexpr bool value = !__is_enum(T) && is_strange<T>(__is_class(T) || __is_union(T));
}};
template <class T> struct strange<T &> : strange<T> {{}};
template <class T> struct strange<T &&> : strange<T> {{}};
template <> struct strange<void> {{ static constexpr bool value = false; }};
template <class A, class B> struct same {{ static constexpr bool value = false; }};
template <class A> struct same<A, A> {{ static constexpr bool value = true; }};

template <class A, class B> struct compared {{
    static_assert(same<A, B>::value || !(strange<A>::value || strange<B>::value),
                  "a class that the tests do not know is compared with another type");
    explicit operator bool() const;
}};
struct done {{ explicit operator bool() const; }};
template <class A> struct operand {{
    explicit operator bool() const;
    template <class B> done operator=(const B &);
}};
struct left {{}};
template <class A> operand<A> operator<<(left, const A &);
#define FORGE_EACH(use) use(==) use(!=) use(<) use(>) use(<=) use(>=)
#define FORGE_COMPARE(sign)                                                                            \\
    template <class A, class B> compared<A, B> operator sign(operand<A>, const B &);                   \\
    template <class B> done operator sign(done, const B &);                                            \\
    template <class A, class B, class C> done operator sign(compared<A, B>, const C &);
FORGE_EACH(FORGE_COMPARE)
#define FORGE_OTHER(sign)                                                                              \\
    template <class A, class B> done operator sign(operand<A>, const B &);                             \\
    template <class B> done operator sign(done, const B &);                                            \\
    template <class A, class B, class C> done operator sign(compared<A, B>, const C &);
FORGE_OTHER(&&) FORGE_OTHER(||) FORGE_OTHER(&) FORGE_OTHER(|) FORGE_OTHER(^) FORGE_OTHER(<<) FORGE_OTHER(>>)

struct alien {{}};
template <class T> T &some();
struct yes {{ char size; }};
struct no {{ char size[2]; }};
#define FORGE_FIND(name, sign)                                                                         \\
    template <class T, class A> auto name(int) -> decltype(some<T>() sign some<A>(), yes());           \\
    template <class T, class A> no name(...);
FORGE_FIND(equals, ==) FORGE_FIND(differs, !=) FORGE_FIND(precedes, <) FORGE_FIND(follows, >) FORGE_FIND(less, -)
template <class T, class A> struct compares {{
    static constexpr bool value = sizeof(equals<T, A>(0)) == 1 || sizeof(differs<T, A>(0)) == 1
        || sizeof(precedes<T, A>(0)) == 1 || sizeof(follows<T, A>(0)) == 1 || sizeof(less<T, A>(0)) == 1
        || sizeof(equals<A, T>(0)) == 1 || sizeof(differs<A, T>(0)) == 1;
}};
template <class T, bool> struct claims {{ static constexpr bool value = false; }};
template <class T> struct claims<T, true> {{
    static constexpr bool value = compares<T, alien>::value || compares<T, int>::value || compares<T, double>::value
        || compares<T, const char *>::value;
}};
template <class T> struct plain {{ typedef T type; }};
template <class T> struct plain<T &> : plain<T> {{}};
template <class T> struct plain<T &&> : plain<T> {{}};
template <class T> struct plain<const T> : plain<T> {{}};
template <class T> auto holds(int) -> decltype(some<T>().begin(), some<T>().size(), yes());
template <class T> no holds(...);
template <class T> constexpr bool is_own_container() {{
    return strange<T>::value && sizeof(holds<T>(0)) == 1 && !begins(name<T>(), "std");
}}
template <class T> constexpr void result() {{
    typedef typename plain<T>::type type;
    static_assert(!claims<type, strange<type>::value>::value, "a result that claims to equal what it is not");
    static_assert(!is_own_container<type>(), "a container that the tests do not know");
    static_assert(!is_steered<type>(), "a container of the library that compares as the solution tells it to");
}}
}}
#undef FORGE_EACH
#undef FORGE_COMPARE
#undef FORGE_OTHER
#undef FORGE_FIND
#undef FORGE_LOOK_AT
#define FORGE_LOOK_AT(...) (void)sizeof(::{honest}::left() << __VA_ARGS__),
"""
START = """\
{linkage}int {theirs}(int, char **, char **) __asm__("{symbol}");
{linkage}int {run}(int (*)(int, char **, char **), unsigned long long, unsigned long long, unsigned long long,
    unsigned long long, int, char **, char **) __asm__("forge_run");
{linkage}int {ours}(int, char **, char **) __asm__("main");
{linkage}int {ours}(int count, char **arguments, char **environment) {{
    return {run}({theirs}, 0x{first}ull, 0x{second}ull, 0x{third}ull, 0x{fourth}ull, count, arguments, environment);
}}
"""
OWN_MACROS = tuple(f"FORGE_{name}" for name in ("FAILED", "ASSERT", "LOOK_AT", "EACH", "COMPARE", "OTHER", "FIND"))


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d]\w*", text))


# Macros of a solution's that would change what stands here.
OWN_WORDS = _words(FAILED + HIDING + VALUE_HIDING + HONEST + START + "extern")
# Functions by which the run-time libraries and this text judge. A solution that brings its own is none.
RUN_TIME = _words(
    """__assert_fail __assert __assert_perror_fail __cxa_throw __cxa_begin_catch __cxa_end_catch __cxa_atexit
    __cxa_allocate_exception __cxa_rethrow __gxx_personality_v0 _Unwind_RaiseException _Unwind_Resume _ZSt9terminatev
    _exit _Exit __libc_start_main __stack_chk_fail memcmp bcmp memcpy memmove memset strlen strcmp wmemcmp wcslen
    __asan_default_options __ubsan_default_options __asan_on_error __asan_report_error __ubsan_on_report
    __sanitizer_set_death_callback __asan_default_suppressions __ubsan_default_suppressions _start _init _fini
    forge_failed forge_run"""
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

# Part of every program: threads get stacks of 8 MiB, the system's default. Otherwise each gets as much as the first
# thread may have, and a dozen of them use up all memory. inside/confine.py counts on that size.
THREAD_STACKS = """\
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#pragma weak pthread_attr_init
#pragma weak pthread_attr_setstacksize
#pragma weak pthread_setattr_default_np
__attribute__((constructor)) static void forge_thread_stacks(void) {
    pthread_attr_t attributes;
    if (!pthread_attr_init || !pthread_attr_setstacksize || !pthread_setattr_default_np) return;
    if (pthread_attr_init(&attributes)) return;
    if (!pthread_attr_setstacksize(&attributes, 8 << 20)) pthread_setattr_default_np(&attributes);
}
#endif
"""
