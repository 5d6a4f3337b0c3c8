"""Where the miners of a fleet are: what a line may say, and what is said of one that is wrong."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from chi.bounds import MAX_MINERS, MAX_MINERS_FILE
from chi.places import Place, check_names, place, read_places


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=10.0.0.1", Place("a", "10.0.0.1")),
        ("a = 10.0.0.1:4029", Place("a", "10.0.0.1", 4029)),
        ("  rack-1.left_2 =miner.lan ", Place("rack-1.left_2", "miner.lan")),
        ("7=miner", Place("7", "miner")),
        ("a=[fd00::1]:4028", Place("a", "fd00::1", 4028)),
        ("a=[fd00::1]", Place("a", "fd00::1")),
        ("a=fd00::1", Place("a", "fd00::1")),
        ("a=fe80::1%eth0", Place("a", "fe80::1%eth0")),
        ("a" * 63 + "=h", Place("a" * 63, "h")),
    ],
)
def test_a_line(text: str, found: Place) -> None:
    """A name, and a host with or without a port, in every form of an address."""
    assert place(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.0.0.1", "'10.0.0.1' is not NAME=HOST or NAME=HOST:PORT"),
        ("=10.0.0.1", "'' is not a name"),
        ("a b=10.0.0.1", "'a b' is not a name"),
        ("-a=10.0.0.1", "'-a' is not a name"),
        (".=10.0.0.1", "'.' is not a name"),
        ("..=10.0.0.1", "'..' is not a name"),
        ("a/b=10.0.0.1", "'a/b' is not a name"),
        ("@a=10.0.0.1", "'@a' is not a name"),
        ("ä=10.0.0.1", "'ä' is not a name"),
        ("a" * 64 + "=h", "is not a name: up to 63 letters"),
        ("a=", "'' is not a host name or an IP address"),
        ("a=300.0.0.1", "'300.0.0.1' is not a host name"),
        ("a=10.0.0.1:", "'' is not a port from 1 to 65535"),
        ("a=10.0.0.1:0", "'0' is not a port"),
        ("a=10.0.0.1:65536", "'65536' is not a port"),
        ("a=10.0.0.1:4028x", "'4028x' is not a port"),
        ("a=[fd00::1]x", "'[fd00::1]x' is not a host name or an IP address"),
        ("a=[]:4028", "'' is not a host name"),
        ("a=http://10.0.0.1", "'//10.0.0.1' is not a port"),
        ("a=x\n:b:c:d", "'x\\n:b:c:d' is not a host with or without a port"),
        ("a=10.0.0.1 b=10.0.0.2", "'10.0.0.1 b=10.0.0.2' is not a host name"),
    ],
)
def test_a_line_that_is_wrong(text: str, why: str) -> None:
    """The part that is wrong is named."""
    with pytest.raises(argparse.ArgumentTypeError) as error:
        place(text)
    assert why in str(error.value)


def test_a_file(tmp_path: Path) -> None:
    """One a line; comments, blank lines, and a mark or line ends of other systems."""
    path = tmp_path / "miners"
    path.write_bytes(b"\xef\xbb\xbfa = 10.0.0.1 # left\r\n\r\n# b = 10.0.0.2\n   \nc=h:4029")
    assert read_places(str(path)) == (Place("a", "10.0.0.1"), Place("c", "h", 4029))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"a=h\nb\n", "line 2: 'b' is not NAME=HOST or NAME=HOST:PORT"),
        (b"a=h\n\n# a\na = i:4029\n", "line 4: 'a = i:4029': there is a miner called a already"),
        (b"a=h\nthere=i\n", "line 2: 'there=i': there is a miner called there already"),
        (b"a=\xff\n", "line 1: '\ufffd' is not a host name or an IP address"),
        (b"a=\0\n", r"line 1: '\x00' is not a host name"),
        (b"a=" + b"h" * 500, "has more than 400 characters"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, data: bytes, why: str) -> None:
    """The file, the line, its text and the cause are told, in one line of bounded length."""
    path = tmp_path / "miners"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="miners: ") as error:
        read_places(str(path), [Place("there", "h")])
    assert f"{path}: line " in str(error.value)
    assert why in str(error.value)
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    """The system's own words."""
    for path, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ValueError, match=f"^{path}: {why}$"):
            read_places(str(path))


def test_what_cannot_be_read_again_is_refused(tmp_path: Path) -> None:
    """A pipe holds up who opens it until somebody writes, and is empty the second time."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero")):
        with pytest.raises(ValueError, match=f"^{path}: it is not a regular file$"):
            read_places(str(path))


def test_a_file_is_of_bounded_size(tmp_path: Path) -> None:
    """A file that somebody named by mistake is not read to its end."""
    path = tmp_path / "miners"
    path.write_bytes(b"#" * MAX_MINERS_FILE)
    assert read_places(str(path)) == ()
    path.write_bytes(b"#" * (MAX_MINERS_FILE + 1))
    with pytest.raises(ValueError, match="more than 1048576 bytes"):
        read_places(str(path))


def test_names_are_distinct_and_bounded() -> None:
    """Two of one name are refused, and more than one chi serves."""
    most = [Place(f"m{number}", "h") for number in range(MAX_MINERS)]
    check_names(most)
    with pytest.raises(ValueError, match="there are two miners called m7"):
        check_names([*most, Place("m7", "i")])
    with pytest.raises(ValueError, match=f"{MAX_MINERS + 1} miners, and one chi serves {MAX_MINERS}"):
        check_names([*most, Place("one-more", "h")])
