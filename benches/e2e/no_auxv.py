"""Lets keygate run under valgrind: makes the kernel refuse prctl(PR_GET_AUXV), as kernels before Linux 6.4 do.

valgrind takes the vDSO out of a program's memory and of its auxiliary vector, but passes this newer call through, and
a program that asks it (rustix does, for the clocks) is sent to where the vDSO no longer is. Refused, it reads the
vector from where valgrind mends it. Used by instructions.py alone, between fork and exec; needs no privilege.
"""

import ctypes
import platform
import struct

# Per machine: the call's number and the kernel's name for the architecture (linux/audit.h).
PRCTL = {"x86_64": (157, 0xC000003E), "aarch64": (167, 0xC00000B7)}
PR_GET_AUXV = 0x41555856
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
EINVAL = 22
# Classic BPF: load a word of seccomp_data, jump if equal, return. Offsets in seccomp_data: number 0, architecture 4,
# first argument's low word 16.
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06


def install():
    """For this process and its children. Does nothing on machines that it does not know."""
    if platform.machine() not in PRCTL:
        return
    number, architecture = PRCTL[platform.machine()]
    program = [
        (LOAD, 0, 0, 4), (JUMP_IF_EQUAL, 0, 5, architecture),
        (LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 3, number),
        (LOAD, 0, 0, 16), (JUMP_IF_EQUAL, 0, 1, PR_GET_AUXV),
        (RETURN, 0, 0, SECCOMP_RET_ERRNO | EINVAL),
        (RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
