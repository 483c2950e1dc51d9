"""Shutting a job in: fresh mounts, a root that names none of them, no capabilities, no new privileges, a system-call
filter, resource limits.

Runs inside the sandbox and imports the standard library alone.
"""

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct

from seccomp import Filter, install, of_jobs, program

# PyDLL keeps the interpreter lock during a call, as it must be kept over a fork.
libc = ctypes.PyDLL(None, use_errno=True)
FILTER = Filter(program(platform.machine()))
JOB_FILTER, UNTRUSTED_FILTER = (Filter(of_jobs(platform.machine(), trusted)) for trusted in (True, False))

CLONE_NUMBER = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
OPEN_TREE_NUMBER = 428
WORKING_FOLDER, TREE_CLONE, TREE_RECURSIVE = -100, 1, 0x8000
NEW_MOUNT, NEW_IPC, NEW_PID = 0x00020000, 0x08000000, 0x20000000
NOSUID, NODEV, NOEXEC, READ_ONLY = 2, 4, 8, 1
DEATH_SIGNAL, SET_DUMPABLE, CAPBSET_DROP, SET_NO_NEW_PRIVS, CAP_AMBIENT = 1, 4, 24, 38, 47
LAST_CAPABILITY = 63
CAPABILITIES_HEADER, NO_CAPABILITIES = struct.pack("=Ii", 0x20080522, 0), bytes(24)
NOBODY = 65534
MEGABYTE = 1 << 20
# A thread's stack, the system's default whatever the limit on the first thread's, and what the C library reserves for a
# thread's allocations. Reserved address space is no memory, and how much of it there is depends on the cores.
THREAD_STACK_MB, THREAD_RESERVE_MB = 8, 128
ATTRIBUTE_BYTES = 256  # more than any C library's pthread_attr_t takes
INODES = 1 << 16  # of /tmp, and of /dev/shm: an empty file takes no room there, but kernel memory
PROGRAM_FOLDER, PROGRAM_MB, PROGRAM_INODES = "/forge/program", 4, 1 << 10  # where a Python program's file lies


def check(result: int, what: str) -> int:
    """`result` of a C call; OSError where it is negative."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


# Processes that stay beside the jobs of this one's user: a limit on processes counts them as well.
residents = 0


def fork() -> int:
    """Like os.fork(), from a process with one thread. What Python does besides touches four times as many pages as the
    C library's fork, and is about other threads, of which there are none, and about the seed of `random`."""
    return check(libc.fork(), "fork")


def clone_into_namespaces() -> int:
    """Like `fork`, but the child is process 1 of new pid, mount and ipc namespaces. OSError where refused.

    The caller must be process 1, too: the C library, which has no part in this, goes on believing that number.
    """
    if CLONE_NUMBER is None:
        raise OSError(38, "clone: number unknown on this machine")
    flags = NEW_MOUNT | NEW_IPC | NEW_PID | signal.SIGCHLD
    return check(libc.syscall(CLONE_NUMBER, ctypes.c_long(flags), None, None, None, None), "clone")


def _mount(kind: str, at: str, flags: int, options: str) -> None:
    check(libc.mount(kind.encode(), at.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()), f"mount {at}")


def end_with_parent() -> None:
    """Have the kernel end this process, and so the sandbox, at once when bubblewrap's own is killed."""
    check(libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "pdeathsig")


def fresh_mounts(tmp_mb: int) -> None:
    """Mount an empty /tmp and /dev/shm (MiB each at most), a folder for a program's file, and the new pid namespace's
    /proc over the shared ones."""
    sizes = (("/tmp", tmp_mb, INODES), ("/dev/shm", tmp_mb, INODES), (PROGRAM_FOLDER, PROGRAM_MB, PROGRAM_INODES))
    for folder, size, inodes in sizes:
        _mount("tmpfs", folder, NOSUID | NODEV, f"size={size}m,mode=1777,nr_inodes={inodes}")
    narrow_proc()


def narrow_proc() -> None:
    """Mount a /proc that shows processes only (`subset=pid`), as its other files are the machine's. Where that cannot
    be, as in containers that mask parts of it, an empty read-only /proc takes its place."""
    try:
        _mount("proc", "/proc", NOSUID | NODEV | NOEXEC, "subset=pid")
    except OSError:
        _mount("tmpfs", "/proc", NOSUID | NODEV | NOEXEC | READ_ONLY, "size=4k")


def forget_connections() -> None:
    """Let no closed connection of one job hold its port against the next: they share the network namespace."""
    with contextlib.suppress(OSError), open("/proc/sys/net/ipv4/tcp_max_tw_buckets", "w") as file:
        file.write("0")


def shut_zygote_in() -> None:
    """What no process of the sandbox is ever to have: capabilities by way of a program, most system calls that the
    filter refuses. The zygote keeps its own capabilities, and what it needs to start jobs."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 gets no signal from its own that it has no handler for
    for capability in range(LAST_CAPABILITY + 1):
        if libc.prctl(CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # past the kernel's last capability
    libc.prctl(CAP_AMBIENT, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    check(libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    install(libc, FILTER)


def hide_mounts() -> None:
    """Make a copy of all mounts the root: the same files under the same names, but as it belongs to no mount namespace,
    /proc/self/mountinfo, which names the host's folders behind the mounts, is empty. Where the kernel does not know
    how (before 5.2), the list stays.
    """
    flags = TREE_CLONE | TREE_RECURSIVE | os.O_CLOEXEC
    tree = libc.syscall(OPEN_TREE_NUMBER, WORKING_FOLDER, b"/", ctypes.c_uint(flags))
    if tree < 0:
        return
    os.fchdir(tree)
    os.chroot(".")
    os.chdir("/tmp")  # the descriptor stays: closing it takes as long as all of this


def drop_privileges(spare_user: bool) -> None:
    """Hide the mounts, give up every capability for good, switch to the user nobody where the namespace has one. The
    caller's working folder is /tmp then. What is still to come is `install(libc, JOB_FILTER)` or `become_untrusted`.

    The spare user matters where the whole runs as root: the kernel counts no processes against root, so a limit on
    them would not hold.
    """
    hide_mounts()
    if spare_user:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    check(libc.capset(CAPABILITIES_HEADER, NO_CAPABILITIES), "capset")
    check(libc.prctl(SET_DUMPABLE, 0, 0, 0, 0), "dumpable")


def become_trusted() -> None:
    """Last step in a process that runs no untrusted code itself: what only the zygote needs is refused."""
    install(libc, JOB_FILTER)


def set_thread_stacks() -> None:
    """Let new threads of this process and its forks have the stack that is the default on most systems: otherwise it
    is as large as the limit on the first thread's stack was when this interpreter started."""
    if hasattr(libc, "pthread_setattr_default_np"):
        attributes = ctypes.create_string_buffer(ATTRIBUTE_BYTES)
        libc.pthread_attr_init(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(THREAD_STACK_MB * MEGABYTE))
        libc.pthread_setattr_default_np(attributes)


def become_untrusted(limits: dict) -> None:
    """Last step in the process that runs untrusted code: limits on what it and its children may use.

    `limits`: cpu_seconds, memory_mb (allocated, beside the stacks of as many threads as there may be), processes,
    file_mb, open_files, stack_mb. CPU time counts from here. The process is the kernel's first choice when memory runs
    out. Process 1 of a namespace gets no SIGXCPU, so the limit on CPU time ends it at once.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    libc.prctl(SET_DUMPABLE, 1, 0, 0, 0)
    with contextlib.suppress(OSError):  # where there is no /proc
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, b"1000")
        os.close(descriptor)
    cpu = limits["cpu_seconds"]
    allocated = limits["memory_mb"] + limits["processes"] * THREAD_STACK_MB
    addresses = allocated + limits["processes"] * THREAD_RESERVE_MB
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu if os.getpid() == 1 else cpu + 1),
        (resource.RLIMIT_DATA, allocated * MEGABYTE, None),
        (resource.RLIMIT_AS, addresses * MEGABYTE, None),
        (resource.RLIMIT_NPROC, limits["processes"] + residents, None),
        (resource.RLIMIT_FSIZE, limits["file_mb"] * MEGABYTE, None),
        (resource.RLIMIT_NOFILE, limits["open_files"], None),
        (resource.RLIMIT_STACK, limits["stack_mb"] * MEGABYTE, None),
        (resource.RLIMIT_CORE, 0, None),
        (resource.RLIMIT_MEMLOCK, 0, None),
        (resource.RLIMIT_MSGQUEUE, 0, None),
        # Some accounts may take a core for themselves or go before others.
        (resource.RLIMIT_RTPRIO, 0, None),
        (resource.RLIMIT_NICE, 0, None),
    ):
        _, ceiling = resource.getrlimit(kind)
        wanted = [soft, soft if hard is None else hard]
        if ceiling != resource.RLIM_INFINITY:
            wanted = [min(value, ceiling) for value in wanted]
        resource.setrlimit(kind, tuple(wanted))
    install(libc, UNTRUSTED_FILTER)
