"""Django's makemessages as this repository wants it: ``makemessages -l zh_Hans -l en``."""

from django.core.management.base import CommandParser
from django.core.management.commands import makemessages

NOT_OURS = ["node_modules", "var", "tests", "examples", "benchmarks", "build", "dist", ".*"]


class Command(makemessages.Command):
    # _t: gettext at once, in modules where _ is gettext_lazy.
    xgettext_options = [  # noqa: RUF012 — as the base class declares it
        *makemessages.Command.xgettext_options,
        "--keyword=_t",
    ]

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        # Without line numbers and old texts a catalogue changes only where a text does.
        parser.set_defaults(
            no_wrap=True, no_location=True, no_obsolete=True, ignore_patterns=NOT_OURS
        )
