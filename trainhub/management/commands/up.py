import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import translation
from django.utils.translation import gettext as _

from trainhub.control_room import ControlRoom
from trainhub.first_start import equip_administrator, operator_name
from trainhub.startup import CannotStart
from trainhub.stop_signals import Interrupted, StopSignals
from trainhub.supervisor import GaveUp
from trainhub.terminal import terminal_language


class Command(BaseCommand):
    help = (
        "Start everything and stay in the foreground: the embedded PostgreSQL (unless "
        "DATABASE_URL is set), the web server and one worker. Ctrl-C stops all of it; again: now."
    )
    requires_system_checks = ()  # made later on, and told in a sentence

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--parent", type=int, metavar="PID", help="stop too when this, its parent, has ended"
        )

    def handle(self, *, parent: int | None, **options: Any) -> None:
        translation.activate(terminal_language())
        with StopSignals() as signals:
            room = ControlRoom(signals, self.complain)
            try:
                self.say(_("TrainHub is starting …"))
                room.prepare()
                room.start()
                self.welcome()
                room.watch(parent)
            except Interrupted:
                pass  # told to stop before it was up: that is done below
            except (CannotStart, GaveUp) as error:
                self.complain(str(error))
                sys.exit(1)
            finally:
                if signals.requested:
                    self.say(_("TrainHub is stopping …"))
                room.stop()
            if signals.insisted:
                sys.exit(128 + signals.last_number)
            self.say(_("TrainHub has stopped."))

    def welcome(self) -> None:
        """Say where everything is, and the administrator's new password if it was just made."""
        password = equip_administrator()
        url = settings.PUBLIC_URL.rstrip("/")
        self.say(
            "\n".join(
                [
                    _("TrainHub is running."),
                    _("  Dashboard: %(url)s") % {"url": f"{url}/dashboard"},
                    _("  API documentation: %(url)s") % {"url": f"{url}/docs"},
                    _("  Admin: %(url)s") % {"url": f"{url}/admin/"},
                    login_line(password),
                    _("Ctrl-C stops it; the next start goes on where it was."),
                ]
            )
        )

    def say(self, text: str) -> None:
        self._write(self.stdout, text)

    def complain(self, text: str) -> None:
        self._write(self.stderr, text)

    def _write(self, stream: Any, text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            # The terminal is gone, or whoever read the pipe: no reason to leave children behind.
            return


def login_line(password: str | None) -> str:
    name = operator_name()
    if password is None:
        return _("  Sign in as %(name)s; a new password: manage.py changepassword %(name)s") % {
            "name": name
        }
    return _("  Sign in as %(name)s with the password %(password)s (shown only this once)") % {
        "name": name,
        "password": password,
    }
