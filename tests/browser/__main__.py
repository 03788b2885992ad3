"""make screenshots: ``python -m tests.browser``."""

import os

import django


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "trainhub.settings"
    django.setup()
    # What it imports needs the apps.
    from tests.browser.screenshots import main as take

    take()


if __name__ == "__main__":
    main()
