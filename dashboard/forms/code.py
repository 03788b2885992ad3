"""The part of a form in which a run brings its code: a packed folder, or a revision of a
repository."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.utils.translation import gettext_lazy as _

from code_bundles import storing
from code_bundles.limits import MAX_ARCHIVE_BYTES
from core.exceptions import DomainError
from core.git import MAX_REVISION_LENGTH, is_revision
from runs.code import CodeRequest, may_bring, resolved
from runs.models import Recipe


class CodeForm(forms.Form):
    """Its fields are there if some recipe takes code from the user."""

    archive = forms.FileField(label=_("folder as a zip archive"), required=False)
    git_url = forms.ChoiceField(label=_("or a Git repository"), required=False)
    revision = forms.CharField(
        label=_("revision"),
        required=False,
        max_length=MAX_REVISION_LENGTH,
        help_text=_("A branch, a tag, or the full id of a commit. Empty: the default branch."),
    )

    def __init__(self, *args: Any, by: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = by
        # Here, because a text is read in a language as soon as something is put into it.
        limit = _("At most %(limit)d MB. The command line packs a folder itself.")
        self.fields["archive"].help_text = limit % {"limit": MAX_ARCHIVE_BYTES // 1024**2}
        self.takes_code = {
            recipe.pk: recipe
            for recipe in Recipe.objects.filter(enabled=True)
            if may_bring(recipe, by=by)
        }
        urls = sorted({url for recipe in self.takes_code.values() for url in recipe.git_urls})
        offered = {"archive": bool(self.takes_code), "git_url": bool(urls), "revision": bool(urls)}
        for name, is_offered in offered.items():
            if not is_offered:
                del self.fields[name]
        if urls:
            git_url = self.fields["git_url"]
            assert isinstance(git_url, forms.ChoiceField)
            git_url.choices = [("", _("none")), *((url, url) for url in urls)]
            self.fields["revision"].widget.attrs["placeholder"] = "main"

    @property
    def offers_code(self) -> bool:
        return "archive" in self.fields

    @property
    def offers_repositories(self) -> bool:
        return "git_url" in self.fields

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("git_url") and cleaned.get("archive"):
            self.add_error("archive", _("Choose either a folder or a repository."))
        if cleaned.get("revision"):
            if not cleaned.get("git_url"):
                self.add_error("git_url", _("Choose the repository of the revision."))
            if not is_revision(cleaned["revision"]):
                self.add_error("revision", _("This is no name of a revision."))
        return cleaned

    def bring(self, recipe: Recipe | None) -> CodeRequest | None:
        """Store the archive, or find the commit; None if the form brings no code, and if it cannot:
        its field then says why. Call once the form is valid."""
        try:
            return self._brought(recipe)
        except DomainError as error:
            self.add_error(self.code_field, str(error.message))
            return None

    def _brought(self, recipe: Recipe | None) -> CodeRequest | None:
        """Raises DomainError."""
        if url := self.cleaned_data.get("git_url"):
            revision = self.cleaned_data.get("revision") or "HEAD"
            return resolved(CodeRequest(git_url=url, revision=revision), recipe, by=self.user)
        if archive := self.cleaned_data.get("archive"):
            bundle, _is_new = storing.receive(archive, by=self.user)
            return CodeRequest(sha256=bundle.pk)
        return None

    @property
    def code_field(self) -> str | None:
        """Where what is wrong with the code is shown; None: above the form."""
        if self.cleaned_data.get("git_url"):
            return "git_url"
        return "archive" if self.offers_code else None
