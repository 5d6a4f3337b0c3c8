"""Try what a sandbox forbids: `probe.py NAME` exits with 0 if it could be done, with 1 if not; it says which.

With more names it tries them all, and exits with 1 if any could not be done.
"""

import ctypes
import errno
import mmap
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
WRONG = ctypes.c_void_p(8)  # an address where nothing is


def done(result):
    """Raise OSError for a C function that failed."""
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def change_owner():
    """Have the kernel look at chown()'s path, which is wrong: only a filter says EPERM before."""
    libc.chown(WRONG, 0, 0)
    if ctypes.get_errno() == errno.EPERM:
        raise PermissionError(errno.EPERM, "chown")


def unmount():
    """The same for umount(), whose path is wrong."""
    libc.umount2(WRONG, 0)
    if ctypes.get_errno() == errno.EPERM:
        raise PermissionError(errno.EPERM, "umount")


def make_device():
    """Make the node of a device that the container may use: /dev/net/tun."""
    with tempfile.TemporaryDirectory() as folder:
        os.mknod(f"{folder}/tun", 0o20600, os.makedev(10, 200))


def exists(path):
    """Whether it is seen."""
    os.stat(path)


def write(path):
    """Whether a file can be made."""
    Path(path).write_text("probe")
    Path(path).unlink()


def append(path):
    """Whether a file that is there can be opened for writing."""
    os.close(os.open(path, os.O_WRONLY))


def read_kernel_log():
    """Read what stands for the kernel's log in this container."""
    if Path("/dev/kmsg").read_text() != "probe\n":
        raise PermissionError(errno.EPERM, "/dev/kmsg is empty")


def set_id_bit():
    """Make a program set-user-ID."""
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0o4755)


def gain_privilege():
    """Become root by a set-user-ID program; there is one made for this."""
    user = subprocess.run(["/opt/chi-probe/id", "-u"], capture_output=True, text=True, check=True).stdout
    if user.strip() != "0":
        raise PermissionError(errno.EPERM, f"still user {user.strip()}")


def run_own_program():
    """Run a program that was written just now."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        subprocess.run([program], check=True)


def write_and_execute():
    """Get memory that can be both written and run."""
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def other_architecture():
    """Make a system call of 32-bit x86: getpid."""
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3")  # push rbx; mov eax, 20; int 0x80; pop rbx; ret
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    if call() != os.getpid():
        raise OSError(errno.ENOSYS, "32-bit getpid")


def bind(kind, port):
    """Bind a port."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))


def open_socket(family, kind):
    """Make a socket of a family."""
    socket.socket(family, kind).close()


def be_root():
    """Whether this runs as root."""
    if os.getuid() != 0:
        raise PermissionError(errno.EPERM, f"user {os.getuid()}")


def own_file_mode():
    """Make a file that others can read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_text("")
        if not path.stat().st_mode & 0o077:
            raise PermissionError(errno.EPERM, oct(path.stat().st_mode))


def other_user():
    """Tell the owner of another user's file."""
    if os.stat("/opt/chi-probe/owned").st_uid == 65534:
        raise PermissionError(errno.EPERM, "unknown owner")


def host_name():
    """Set the host's name, to what it is."""
    name = os.uname().nodename.encode()
    done(libc.sethostname(name, len(name)))


PROBES = {
    "be-root": be_root,
    "chown": lambda: os.chown("/opt/chi-probe/owned", 1234, 1234),
    "gain-privilege": gain_privilege,
    "other-user": other_user,
    "set-id-bit": set_id_bit,
    "write-etc": lambda: write("/etc/chi-probe"),
    "write-usr": lambda: write("/usr/chi-probe"),
    "write-var": lambda: write("/var/lib/chi-probe"),
    "read-home": lambda: exists("/home/chi-probe"),
    "see-tmp": lambda: exists("/tmp/chi-probe"),
    "see-device": lambda: exists("/dev/chi-probe"),
    "make-device": make_device,
    "run-own-program": run_own_program,
    "own-file-mode": own_file_mode,
    "see-process-1": lambda: exists("/proc/1"),
    "see-cpuinfo": lambda: exists("/proc/cpuinfo"),
    "make-cgroup": lambda: (os.mkdir("/sys/fs/cgroup/chi-probe"), os.rmdir("/sys/fs/cgroup/chi-probe")),
    "set-host-name": host_name,
    "kernel-log": read_kernel_log,
    "see-modules": lambda: exists("/usr/lib/modules/chi-probe"),
    "tune-kernel": lambda: append("/proc/sys/net/ipv4/ip_forward"),
    "shared-memory": lambda: done(libc.shmget(0x636869, 0, 0)),
    "personality": lambda: done(libc.personality(0x0008)),
    "write-and-execute": write_and_execute,
    "unmount": unmount,
    "namespace": lambda: done(libc.unshare(0x04000000)),  # CLONE_NEWUTS
    "realtime": lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)),
    "other-architecture": other_architecture,
    "privileged-call": change_owner,
    "resource-call": lambda: os.nice(1),
    "netlink": lambda: open_socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "packet": lambda: open_socket(socket.AF_PACKET, socket.SOCK_RAW),
    "bind-udp": lambda: bind(socket.SOCK_DGRAM, 5353),
    "bind-low-port": lambda: bind(socket.SOCK_STREAM, 1023),
}

if __name__ == "__main__":
    failed = 0
    for name in sys.argv[1:]:
        try:
            PROBES[name]()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name}: no: {error}")
            failed = 1
        else:
            print(f"{name}: done")
    sys.exit(failed)
