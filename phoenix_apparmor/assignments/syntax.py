"""What is wrong at a syntax error of JSON, and where: for all who tell of it. Pure."""

from json import JSONDecodeError

from phoenix_apparmor.assignments.positions import Lines, Place


def explain(error: JSONDecodeError) -> tuple[str, str, Place]:
    """What is wrong at a syntax error, how to fix it, and where: the same for each Python.

    Python 3.13 names a trailing comma and points at it, 3.11 says "Expecting property name"
    and points behind it.
    """
    rest = error.doc[error.pos : error.pos + 2]
    before = error.doc[: error.pos].rstrip()
    closing = ("}", "]")
    after = error.doc[error.pos + 1 :].lstrip()
    trailing = rest[:1] == "," and after.startswith(closing)
    behind = rest.startswith(closing) and before.endswith(",")
    cases: tuple[tuple[bool, str, str], ...] = (
        (
            not error.doc.strip(),
            "there is no text in it.",
            'Was it cut off? To manage no container: {"lxc_configs": {}}',
        ),
        (not rest, "the text ends too early.", "A } or ] is missing, or the file was cut off."),
        (trailing or behind, "a comma before a closing bracket.", "Take that comma out."),
        (rest.startswith(("#", "//", "/*")), "JSON has no comments.", "Take it out."),
        (rest.startswith("'"), "JSON has double quotes only.", "Write \"…\" instead of '…'."),
        (
            error.msg.startswith("Expecting ',' delimiter"),
            "a comma or a closing bracket is missing.",
            f"Likely at the end of line {before.count(chr(10)) + 1}.",
        ),
        (
            error.msg.startswith("Extra data"),
            "the document has ended before this.",
            "One closing bracket too many?",
        ),
    )
    begin = len(before) - 1 if behind else error.pos
    place = Lines(error.doc).place(begin, begin + 1)
    for applies, what, hint in cases:
        if applies:
            return what, hint, place
    return f"{error.msg.removesuffix(' at')}.", "", place
