"""Sign-in through an OpenID Connect provider, by django-allauth. See docs/sign-in.md."""
