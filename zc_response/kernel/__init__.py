"""The kernel's calls, one thin typed function each, its facts beside it.

This is the only place with ctypes, fcntl and raw syscalls. A function here decides
nothing: it makes one call and raises the OSError that the kernel gave.
"""
