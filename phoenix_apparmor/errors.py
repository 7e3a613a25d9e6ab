"""The one error type: what is wrong, where, and the way out."""


class PhoenixError(Exception):
    """An error that a person can act on.

    what: one sentence that names the thing and the cause.
    hint: one sentence with the way out, best a command; may be empty.
    ctid: the container it is about, if it is about one.
    status: exit status of the command that ends with it (1 error, 64 usage).
    """

    def __init__(
        self, what: str, *, hint: str = "", ctid: str | None = None, status: int = 1
    ) -> None:
        super().__init__(what)
        self.what = one_line(what)
        self.hint = one_line(hint)
        self.ctid = ctid
        self.status = status

    def about(self, ctid: str) -> "PhoenixError":
        """The same error, said of container ctid."""
        return PhoenixError(self.what, hint=self.hint, ctid=ctid, status=self.status)

    def lines(self) -> list[str]:
        """One line for the reason and, where there is one, a second for the way out."""
        where = f"CT {self.ctid}: " if self.ctid is not None else ""
        return [where + self.what] + ([self.hint] if self.hint else [])

    def __str__(self) -> str:
        return "\n".join(self.lines())


def one_line(text: str) -> str:
    """text with control characters made visible: it may quote a file, and goes to logs."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text.strip())
