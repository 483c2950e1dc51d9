"""The system-call filter of a job, as classic BPF: what no program under test needs is refused with EPERM.

Runs inside the sandbox and imports the standard library alone. The namespaces already take the effect out of most of
these calls; the filter keeps untrusted code away from the kernel code behind them. Refused as well is what no limit
bounds (System V memory and queues, files in memory) and what reaches past the job: process 1, where that is the
supervisor, and neighbours by way of `sync`. Of sockets, UNIX, TCP and UDP are left: some families (VSOCK) belong
to no network namespace, others load kernel modules. Calls that are newer than this list are answered with ENOSYS.

It comes in two parts, as the kernel takes a tenth of a millisecond for a long one: `program` is put on the zygote once,
`of_jobs`, which refuses what the zygote needs to start a job, and protects supervisors, on each job.
"""

import ctypes
import os
import struct

# name: number on x86_64, number on aarch64 (None: no such call there)
DENIED = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_kernel_syms": (177, None),
    "init_module": (175, 105),
    "io_setup": (206, 0),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "listmount": (458, 458),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "msgget": (68, 186),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "query_module": (178, None),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "semget": (64, 190),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmget": (29, 194),
    "statmount": (457, 457),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "_sysctl": (156, None),
    "sysfs": (139, None),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
OF_THE_ZYGOTE = ("chroot", "mount", "open_tree")
CLONE, CLONE3 = (56, 220), (435, 435)
MEMFD_CREATE = (319, 279)
# What these ask the machine to do it would do for all of it: they succeed and do nothing.
SYNC = {"sync": (162, 81), "syncfs": (306, 267)}
# Refused for a supervisor, process 1, whose limits and priorities belong to the sandbox; the process is the first or
# second argument.
BY_FIRST = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
}
BY_SECOND = {"ioprio_set": (251, 30), "setpriority": (141, 140)}
SOCKETS = {"socket": (41, 198), "socketpair": (53, 199)}
SOCKET_FAMILIES = (1, 2, 10)
SOCKET_PROTOCOLS = (0, 1, 6, 17)  # the family's default, UNIX, TCP, UDP
IOCTL, TERMINAL_INPUT = (16, 29), (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX type into a terminal
# Linux, its 32-bit kind, either with an older release number or unrandomised addresses (sanitizers), and the question.
PERSONALITY, PERSONALITIES = (135, 92), (0, 8, 0x20000, 0x20008, 0x40000, 0x40008, 0xFFFFFFFF)
NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag that clone takes
NEWER = 463  # from here on calls have the same number everywhere
X32_BIT = 0x40000000
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the tables, AUDIT_ARCH

LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, (16, 24, 32)  # offsets in struct seccomp_data; of arguments the lower half

Instruction = tuple[int, int | str, int | str, int]  # code, jump if true, jump if false (a count or a label), value


def program(machine: str) -> bytes:
    """The filter for `machine` as an array of struct sock_filter; ValueError where the numbers are not known."""
    column, architecture = _known(machine)
    jumps = {CLONE3: "missing", IOCTL: "ioctl", PERSONALITY: "personality"}
    jumps |= dict.fromkeys(SOCKETS.values(), "socket") | dict.fromkeys(SYNC.values(), "nothing")
    jumps |= {row: "deny" for name, row in DENIED.items() if name not in OF_THE_ZYGOTE}
    head: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
        *([(JUMP_GREATER_EQUAL, "deny", 0, X32_BIT)] if machine == "x86_64" else []),
        (JUMP_GREATER_EQUAL, "missing", 0, NEWER),
        *((JUMP_EQUAL, label, 0, row[column]) for row, label in jumps.items() if row[column] is not None),
        (RETURN, 0, 0, ALLOW),
    ]
    return _assemble(head, _tail())


def _known(machine: str) -> tuple[int, int]:
    if machine not in MACHINES:
        raise ValueError(f"no system-call filter for machine '{machine}'; there are those for {', '.join(MACHINES)}")
    return MACHINES[machine]


def of_jobs(machine: str, trusted: bool) -> bytes:
    """The second filter, for the trusted processes of a job, process 1 and its copies, and for untrusted ones. The
    latter get no memfd_create either, as nothing bounds what is written there; where process 1 is a supervisor they
    come from it, and have both."""
    column, _ = _known(machine)
    jumps = {DENIED[name]: "deny" for name in OF_THE_ZYGOTE} | {CLONE: "clone"}
    if trusted:
        jumps |= dict.fromkeys(BY_FIRST.values(), "first") | dict.fromkeys(BY_SECOND.values(), "second")
    else:
        jumps |= {MEMFD_CREATE: "missing"}
    rows: list[Instruction] = [(JUMP_EQUAL, label, 0, row[column]) for row, label in jumps.items()]
    return _assemble([(LOAD, 0, 0, NUMBER), *rows, (RETURN, 0, 0, ALLOW)], _tail())


def _tail() -> dict[str, list[Instruction]]:
    """What `program` jumps to. glibc falls back from clone3, whose flags a filter cannot read, to clone."""
    first, second, third = ((LOAD, 0, 0, offset) for offset in ARGUMENTS)
    allow, deny = (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERRNO | EPERM)
    return {
        "clone": [first, (JUMP_SET, "deny", "allow", NEW_NAMESPACES)],
        "socket": [first, *((JUMP_EQUAL, "protocol", 0, family) for family in SOCKET_FAMILIES), deny],
        "protocol": [third, *((JUMP_EQUAL, "allow", 0, protocol) for protocol in SOCKET_PROTOCOLS), deny],
        "ioctl": [second, *((JUMP_EQUAL, "deny", 0, request) for request in TERMINAL_INPUT), allow],
        "personality": [first, *((JUMP_EQUAL, "allow", 0, kind) for kind in PERSONALITIES), deny],
        "first": [first, (JUMP_EQUAL, "deny", "allow", 1)],
        "second": [second, (JUMP_EQUAL, "deny", "allow", 1)],
        "nothing": [(RETURN, 0, 0, ERRNO)],
        "missing": [(RETURN, 0, 0, ERRNO | ENOSYS)],
        "deny": [deny],
        "allow": [allow],
    }


def _assemble(head: list[Instruction], tail: dict[str, list[Instruction]]) -> bytes:
    """Jumps count the instructions between themselves and their target, which lies ahead."""
    instructions, labels = list(head), {}
    for name, block in tail.items():
        labels[name] = len(instructions)
        instructions += block
    encoded = b""
    for at, (code, true, false, value) in enumerate(instructions):
        jumps = (labels[jump] - at - 1 if isinstance(jump, str) else jump for jump in (true, false))
        encoded += struct.pack("=HBBI", code, *jumps, value)
    return encoded


class Filter:
    """A filter, ready to be installed."""

    def __init__(self, instructions: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(instructions, len(instructions))
        self.header = struct.pack("@HP", len(instructions) // 8, ctypes.addressof(self._buffer))


def install(libc: ctypes.CDLL, filters: Filter) -> None:
    """Put the filter on the calling process and all its children. no_new_privs must be set. OSError if refused."""
    if libc.prctl(22, 2, filters.header, 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        error = ctypes.get_errno()
        raise OSError(error, f"seccomp: {os.strerror(error)}")
