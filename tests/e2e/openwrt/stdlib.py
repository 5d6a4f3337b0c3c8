"""Which OpenWrt package holds which module of Python's standard library.

As in lang/python/python3 of the packages feed, 24.10 (Python 3.11) and 25.12 (3.13): what no other package
takes is in python3-base or python3-light.
"""

from __future__ import annotations

DEPENDS = ("python3-light", "python3-codecs", "python3-logging", "python3-urllib")
# What the four bring along.
IMPLIED = ("libpython3", "python3-base", "python3-email")

SPLIT = {
    "python3-asyncio": "asyncio",
    "python3-cgi": "cgi",
    "python3-cgitb": "cgitb",
    "python3-codecs": "_codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw unicodedata",
    "python3-ctypes": "ctypes _ctypes",
    "python3-dbm": "dbm _dbm _gdbm",
    "python3-decimal": "decimal _decimal _pydecimal",
    "python3-distutils": "distutils",
    "python3-email": "email",
    "python3-lib2to3": "lib2to3",
    "python3-logging": "logging",
    "python3-lzma": "lzma _lzma",
    "python3-multiprocessing": "multiprocessing _multiprocessing",
    "python3-ncurses": "curses _curses _curses_panel",
    "python3-openssl": "_hashlib _ssl",
    "python3-pydoc": "doctest pydoc pydoc_data",
    "python3-readline": "readline",
    "python3-sqlite3": "sqlite3 _sqlite3",
    "python3-unittest": "unittest",
    "python3-urllib": "urllib",
    "python3-uuid": "uuid _uuid",
    "python3-venv": "ensurepip venv",
    "python3-xml": "xml xmlrpc _elementtree pyexpat",
    "no package": "_osx_support _tkinter idlelib test tkinter turtle turtledemo webbrowser",
}
OWNERS = {module: package for package, modules in SPLIT.items() for module in modules.split()}


def owner(module: str) -> str:
    """Return the package of a module."""
    return OWNERS.get(module.partition(".")[0], "python3-light")


def available(module: str) -> bool:
    """Whether chi's dependencies bring it."""
    return owner(module) in DEPENDS + IMPLIED
