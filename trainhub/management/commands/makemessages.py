"""makemessages with this repository's defaults: ``makemessages -l zh_Hans -l en``."""

from django.core.management.base import CommandParser
from django.core.management.commands import makemessages

IGNORE_PATTERNS = ["node_modules", "var", "tests", "examples", "benchmarks", "build", "dist", ".*"]


class Command(makemessages.Command):
    # _t: plain gettext, in modules where _ is gettext_lazy. Message: core/messages.py.
    xgettext_options = [  # noqa: RUF012 — as the base class declares it
        *makemessages.Command.xgettext_options,
        "--keyword=_t",
        "--keyword=Message:1",
    ]

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        # Without line numbers and obsolete texts, a catalog changes only when a text does.
        parser.set_defaults(
            no_wrap=True, no_location=True, no_obsolete=True, ignore_patterns=IGNORE_PATTERNS
        )
