"""Errors of the embedded PostgreSQL, with messages for the user."""


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used. The message is for the user."""


def telling_line(text: str) -> str:
    """The last line with an error, else the last line."""
    failures = [
        line
        for line in text.splitlines()
        if any(word in line for word in ("FATAL:", "PANIC:", "ERROR:", "error:"))
    ]
    return last_line("\n".join(failures) or text)


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"
