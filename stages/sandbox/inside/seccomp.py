"""The system-call filter of a job, as classic BPF: what no program under test needs is refused with EPERM.

Runs inside the sandbox and imports the standard library alone. The namespaces already take the effect out of most of
these calls; the filter keeps untrusted code away from the kernel code behind them. Socket families other than UNIX,
INET, INET6 and NETLINK are refused because some of them (VSOCK) belong to no network namespace.
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
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
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
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, None),
}
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH
CLONE = (56, 220)
CLONE3 = 435
SOCKET = (41, 198)
SOCKET_FAMILIES = (1, 2, 10, 16)
NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag that clone takes
X32_BIT = 0x40000000

LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data


def program(machine: str) -> bytes | None:
    """The filter for `machine` as an array of struct sock_filter; None where the numbers are not known."""
    if machine not in MACHINES:
        return None
    column, architecture = MACHINES[machine]
    numbers = sorted(n for row in DENIED.values() if (n := row[column]) is not None)
    # Blocks of the tail, addressed by name; a jump counts the instructions between itself and its target.
    tail = [
        ("clone", [(LOAD, 0, 0, FIRST_ARGUMENT), (JUMP_SET, "deny", 0, NEW_NAMESPACES), (RETURN, 0, 0, ALLOW)]),
        (
            "socket",
            [
                (LOAD, 0, 0, FIRST_ARGUMENT),
                *((JUMP_EQUAL, "allow", 0, family) for family in SOCKET_FAMILIES),
                (RETURN, 0, 0, ERRNO | EPERM),
            ],
        ),
        ("deny", [(RETURN, 0, 0, ERRNO | EPERM)]),
        # glibc falls back from clone3, whose flags a filter cannot read, to clone.
        ("missing", [(RETURN, 0, 0, ERRNO | ENOSYS)]),
        ("allow", [(RETURN, 0, 0, ALLOW)]),
    ]
    head = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
        *([(JUMP_GREATER_EQUAL, "deny", 0, X32_BIT)] if machine == "x86_64" else []),
        (JUMP_EQUAL, "clone", 0, CLONE[column]),
        (JUMP_EQUAL, "socket", 0, SOCKET[column]),
        (JUMP_EQUAL, "missing", 0, CLONE3),
        *((JUMP_EQUAL, "deny", 0, number) for number in numbers),
        (RETURN, 0, 0, ALLOW),
    ]
    instructions = list(head)
    labels = {}
    for name, block in tail:
        labels[name] = len(instructions)
        instructions.extend(block)
    encoded = b""
    for at, (code, true, false, value) in enumerate(instructions):
        jump = labels[true] - at - 1 if isinstance(true, str) else true
        encoded += struct.pack("=HBBI", code, jump, false, value)
    return encoded


def install(libc: ctypes.CDLL, filters: bytes | None) -> None:
    """Put the filter on the calling process and all its children. no_new_privs must be set. OSError if refused."""
    if filters is None:
        return
    buffer = ctypes.create_string_buffer(filters, len(filters))
    header = struct.pack("@HP", len(filters) // 8, ctypes.addressof(buffer))
    if libc.prctl(22, 2, header, 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        error = ctypes.get_errno()
        raise OSError(error, f"seccomp: {os.strerror(error)}")
