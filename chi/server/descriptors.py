"""How many files and connections the system allows chi to open.

Comes in: the process's limits. Goes out: how many there are, or OSError where they are too few to serve.
"""

from __future__ import annotations

import errno
import resource

from chi.bounds import MAX_DESCRIPTORS, MIN_DESCRIPTORS


def take_descriptors() -> int:
    """Take as many as the system lets us and chi uses; return how many. OSError: they are too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < MIN_DESCRIPTORS:
        why = f"the system allows {wanted} open files, and chi needs {MIN_DESCRIPTORS} (ulimit -n)"
        raise OSError(errno.EMFILE, why)
    return wanted
