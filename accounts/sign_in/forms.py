"""Django's forms of passwords, under the limits, and sending mail from a thread of its own."""

from __future__ import annotations

import logging
import threading
from typing import Any

from django.conf import settings
from django.contrib.auth.forms import PasswordChangeForm, PasswordResetForm
from django.core.mail import EmailMultiAlternatives
from django.http import HttpRequest
from django.template import loader

from accounts.sign_in.limits import address_of, counted_attempt

logger = logging.getLogger(__name__)


class ChangePasswordForm(PasswordChangeForm):
    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request = request

    def clean_old_password(self) -> str:
        """Raises TooManyAttempts: whoever finds a browser signed in may guess here, too."""
        account = self.user.get_username()
        with counted_attempt(account, address_of(self._request)) as attempt:
            password: str = super().clean_old_password()
            attempt.succeed()
        return password


class ResetPasswordForm(PasswordResetForm):
    def send_mail(
        self,
        subject_template_name: str,
        email_template_name: str,
        context: dict[str, Any],
        from_email: str | None,
        to_email: str,
        html_email_template_name: str | None = None,
    ) -> None:
        """In another thread: the time of the answer must not tell whether there is an account."""
        subject = "".join(loader.render_to_string(subject_template_name, context).splitlines())
        body = loader.render_to_string(email_template_name, context)
        message = EmailMultiAlternatives(subject, body, from_email, [to_email])
        threading.Thread(target=_send, args=[message], name="mail", daemon=True).start()


def _send(message: EmailMultiAlternatives) -> None:
    try:
        message.send()
    except (OSError, ValueError) as error:  # smtplib's errors are OSErrors
        logger.error("A mail to reset a password was not sent: %s", error)


def can_send() -> bool:
    """Whether an e-mail server is configured."""
    return bool(settings.EMAIL_CONFIGURED)
