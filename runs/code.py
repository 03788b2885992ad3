"""The code that runs bring: what a request may say of it, and which recipes take it from whom.

Recipes say what command runs; a run only brings the files that this command works on. Who brings
code to a recipe can run any program on the workers, so an operator opens recipes one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts.open_mode import is_local_administrator
from accounts.permissions import is_operator, script_run_of
from core import git
from core.exceptions import DomainError, InvalidInput
from runs.models import CodeBundle, CodeFrom, CodePolicy, Recipe, Run, RunCode

MAX_PATCH_LENGTH: Final = 1_000_000  # characters
MAX_UNTRACKED: Final = 100  # names of files


class CodeNotAllowed(InvalidInput):
    """The recipe takes no code, or not in this way."""

    code = "code_not_allowed"


class CodeForbidden(DomainError):
    """The recipe takes code, but not from this caller."""

    code = "code_forbidden"
    status_code = 403


class UnknownCode(InvalidInput):
    code = "unknown_code"


@dataclass(frozen=True)
class CodeRequest:
    """What a request for a run says of its code: a bundle that was uploaded, or a revision of a
    repository. ``commit``: which one that is, once it is known."""

    sha256: str = ""
    git_url: str = ""
    revision: str = "HEAD"
    commit: str = ""
    origin: dict[str, Any] = field(default_factory=dict)  # see RunCode
    patch: str = ""

    @property
    def is_git(self) -> bool:
        return bool(self.git_url)

    def as_row(self) -> RunCode:
        """Unsaved, and without a run."""
        if self.is_git:
            origin = {"git_url": self.git_url, "revision": self.revision, "commit": self.commit}
            return RunCode(origin={name: text for name, text in origin.items() if text})
        return RunCode(bundle_id=self.sha256, origin=self.origin, patch=self.patch)


def resolved(
    code: CodeRequest | None, recipe: Recipe | None, *, by: User | None
) -> CodeRequest | None:
    """``code`` with the commit that its revision names now; without it if the repository cannot be
    reached, in which case a worker asks again. Takes seconds: call outside of transactions.

    Raises CodeNotAllowed, CodeForbidden, InvalidInput if there is no such revision.
    """
    if code is None or recipe is None or not code.is_git:
        return code
    check_brought(code, recipe, by=by)
    try:
        commit = git.resolve(code.git_url, code.revision)
    except git.GitFailed:
        return code
    if commit is None:
        raise InvalidInput(
            _(
                "There is no branch or tag %(revision)s in %(url)s. A commit is named by its full "
                "id."
            )
            % {"revision": code.revision, "url": code.git_url},
            attr="code",
        )
    return replace(code, commit=commit)


def check_brought(code: CodeRequest, recipe: Recipe, *, by: User | None) -> None:
    """Raises CodeNotAllowed, CodeForbidden, UnknownCode."""
    _check_takes_code(recipe)
    _check_role(recipe, by)
    if code.is_git:
        if code.git_url not in recipe.git_urls:
            raise CodeNotAllowed(
                _("The recipe %(recipe)s does not take code from this repository.")
                % {"recipe": recipe.pk},
                attr="code",
            )
    elif not _bundles(by).filter(pk=code.sha256).exists():
        raise UnknownCode(_("There is no code with this hash: upload it first."), attr="code")


def _bundles(by: User | None) -> QuerySet[CodeBundle]:
    return CodeBundle.objects.all() if by is None else CodeBundle.objects.visible_to(by)


def may_bring(recipe: Recipe, *, by: User | None) -> bool:
    """Whether the recipe takes code from the caller."""
    try:
        _check_takes_code(recipe)
        _check_role(recipe, by)
    except DomainError:
        return False
    return True


def code_of_new_run(
    code: CodeRequest | None,
    recipe: Recipe,
    *,
    by: User | None,
    source: Run | None = None,
) -> RunCode | None:
    """The code that a new run gets, unsaved: that of the request, else that of ``source``, the run
    that it continues. Raises CodeNotAllowed, CodeForbidden, UnknownCode."""
    if code is not None:
        check_brought(code, recipe, by=by)
        return code.as_row()
    kept = None if source is None else RunCode.of(source)
    if kept is not None:
        is_other = source is not None and source.recipe_id != recipe.pk
        if is_other and recipe.code == CodePolicy.NONE:
            return None
        _check_takes_code(recipe)
        if is_other:  # the code is brought to another command
            _check_role(recipe, by)
        return RunCode(bundle_id=kept.bundle_id, origin=kept.origin, patch=kept.patch)
    if recipe.code == CodePolicy.REQUIRED:
        raise CodeNotAllowed(
            _("The recipe %(recipe)s needs code: submit the run with it (trainhub submit --code).")
            % {"recipe": recipe.pk},
            attr="code",
        )
    return None


def _check_takes_code(recipe: Recipe) -> None:
    if recipe.code == CodePolicy.NONE or recipe.code_from == CodeFrom.NOBODY:
        raise CodeNotAllowed(
            _("The recipe %(recipe)s takes no code: an operator can change that.")
            % {"recipe": recipe.pk},
            attr="code",
        )


def _check_role(recipe: Recipe, by: User | None) -> None:
    if by is not None and script_run_of(by):
        raise CodeForbidden(_("The script of a run cannot bring code to another."))
    if recipe.code_from == CodeFrom.OPERATORS and not _is_operator(by):
        raise CodeForbidden(
            _("Only operators bring code to the recipe %(recipe)s.") % {"recipe": recipe.pk},
            attr="code",
        )


def _is_operator(by: User | None) -> bool:
    """In open mode every program on this machine is let in, without a password: none of them is an
    operator."""
    if by is None or is_local_administrator(by):
        return False
    return is_operator(by, "runs.change_recipe")
