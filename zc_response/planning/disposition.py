"""The Content-Disposition field (RFC 6266, RFC 8187): a name for the file saved.

Names come from users and from file systems. Whatever they hold, the field is one line
of ASCII that every recipient takes apart in the same way.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

_TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")

# Controls vanish, C1's too; what separates directories becomes part of the name; what
# is half a character (os.fsdecode turns stray bytes into surrogates) is shown as such.
_CLEAN: Final[dict[int, str | None]] = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0))),
    **dict.fromkeys(map(ord, "/\\"), "_"),
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}

# Not in a quoted-string: recipients disagree on escapes, and some decode percents
# (RFC 6266 appendix D).
_UNQUOTABLE: Final = re.compile(r'[^ -~]|["%]')

# attr-char (RFC 8187 section 3.2.1) without letters, digits and "_.-~".
_ATTR_CHARS: Final = "!#$&+^`|"


def content_disposition(disposition_type: str, filename: str) -> str:
    """Return the field's value: the type, and the name where there is one.

    A plain ASCII name is sent as it is. Any other is sent twice, the second time in
    full (`filename*`), which every current client prefers. Raises ValueError if the
    type is no token.
    """
    if not _TOKEN.fullmatch(disposition_type):
        raise ValueError(f"not a disposition type: {disposition_type!r}")
    name = plain_name(filename)
    if not name:
        return disposition_type
    fallback = _UNQUOTABLE.sub("_", name)
    value = f'{disposition_type}; filename="{fallback}"'
    if fallback != name:
        value += f"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"
    return value


def plain_name(filename: str) -> str:
    """Return the name without what no header field or file system can hold."""
    return filename.translate(_CLEAN)
