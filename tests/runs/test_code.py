"""The code that runs bring: which recipes take it, from whom, and what a run keeps."""

import pytest
from django.core.exceptions import ValidationError
from django.utils import translation

from accounts.grants import Grant, give
from accounts.open_mode import LocalAdministrator
from core import git
from runs import actions, code
from runs.checkpoint import Checkpoint
from runs.code import CodeForbidden, CodeNotAllowed, CodeRequest, UnknownCode, resolved
from runs.models import CodeUpload, Recipe, RunCode
from runs.status import RunStatus
from tests.code_bundles.bundles import bundle, commit, git_server
from tests.factories import ProjectFactory, RecipeFactory, UserFactory, checkpoint

pytestmark = pytest.mark.django_db
URL = "https://example.com/org/model.git"
COMMIT = "a" * 40


@pytest.fixture(autouse=True)
def in_english():
    with translation.override("en"):
        yield


@pytest.fixture
def stored():
    return bundle({"train.py": "print()"})


def taking(code="required", code_from="members", **fields):
    return RecipeFactory(code=code, code_from=code_from, **fields)


def request(stored, **fields):
    return CodeRequest(sha256=stored.pk, **fields)


def create(recipe, code=None, by=None, **fields):
    return actions.create_run(ProjectFactory(), by=by, recipe=recipe, code=code, **fields)


def operator():
    return UserFactory(is_staff=True, is_superuser=True)


# --- which recipes take code, and from whom --------------------------------------------------


@pytest.mark.parametrize(("policy", "code_from"), [("none", "members"), ("required", "nobody")])
def test_recipe_takes_no_code_unless_an_operator_says_so(stored, policy, code_from):
    with pytest.raises(CodeNotAllowed, match="takes no code"):
        create(taking(policy, code_from), request(stored), by=operator())


def test_recipes_take_no_code_by_default():
    recipe = Recipe(name="x")

    assert (recipe.code, recipe.code_from, recipe.git_urls) == ("none", "nobody", [])


def test_members_bring_code_where_they_may(stored):
    member = UserFactory()
    CodeUpload.objects.create(bundle=stored, user=member)

    run = create(taking(), request(stored), by=member)

    assert RunCode.of(run).bundle == stored


@pytest.mark.parametrize(
    "by",
    [
        UserFactory.build,
        lambda: UserFactory(is_staff=True),
        lambda: LocalAdministrator(),
        lambda: None,
    ],
    ids=["a member", "staff without the right", "open mode", "nobody"],
)
def test_only_operators_bring_code_to_a_recipe_of_theirs(stored, by):
    recipe = taking(code_from="operators")

    with pytest.raises(CodeForbidden, match="Only operators"):
        create(recipe, request(stored), by=by())


def test_operator_brings_code_to_a_recipe_of_theirs(stored):
    run = create(taking(code_from="operators"), request(stored), by=operator())

    assert RunCode.of(run).bundle == stored


def test_script_of_a_run_brings_no_code(stored):
    script = UserFactory()
    give(script, Grant(run_id="run_1"))

    with pytest.raises(CodeForbidden, match="script"):
        create(taking(), request(stored), by=script)


def test_run_without_code_is_refused_where_it_is_required():
    with pytest.raises(CodeNotAllowed, match="needs code"):
        create(taking())


def test_run_without_code_is_accepted_where_it_is_optional():
    run = create(taking("optional"))

    assert RunCode.of(run) is None


def test_unknown_bundle_is_refused():
    with pytest.raises(UnknownCode):
        create(taking(), CodeRequest(sha256="0" * 64))


def test_command_that_names_code_requires_it():
    recipe = RecipeFactory.build(command=["{python}", "{code}/train.py"], code="optional")

    with pytest.raises(ValidationError) as refused:
        recipe.clean()
    assert set(refused.value.error_dict) == {"code"}


# --- repositories ----------------------------------------------------------------------------


def test_only_repositories_of_the_recipe_are_taken():
    recipe = taking(git_urls=[URL])

    with pytest.raises(CodeNotAllowed, match="this repository"):
        create(recipe, CodeRequest(git_url="https://example.com/other.git"))


def test_unlisted_repository_is_not_even_asked(monkeypatch):
    monkeypatch.setattr(git, "resolve", lambda *_: pytest.fail("it was asked"))

    with pytest.raises(CodeNotAllowed):
        resolved(CodeRequest(git_url=URL), taking(), by=None)


def test_revision_is_resolved_when_the_run_is_submitted(tmp_path):
    made = commit(tmp_path / "model", {"train.py": "x"})
    with git_server(tmp_path) as server:
        url = f"{server}/model"
        recipe = taking(git_urls=[url])
        asked = resolved(CodeRequest(git_url=url, revision="main"), recipe, by=None)

    run = create(recipe, asked)

    assert RunCode.of(run).origin == {"git_url": url, "revision": "main", "commit": made}


def test_unknown_revision_is_refused(tmp_path):
    commit(tmp_path / "model", {"train.py": "x"})
    with git_server(tmp_path) as server:
        url = f"{server}/model"
        with pytest.raises(code.InvalidInput, match="no branch or tag nowhere"):
            resolved(CodeRequest(git_url=url, revision="nowhere"), taking(git_urls=[url]), by=None)


def test_repository_that_is_away_is_asked_again_by_a_worker():
    url = "git://127.0.0.1:9/model"
    recipe = taking(git_urls=[url])

    asked = resolved(CodeRequest(git_url=url, revision="main"), recipe, by=None)

    run = create(recipe, asked)
    assert RunCode.of(run).origin == {"git_url": url, "revision": "main"}


@pytest.mark.parametrize("url", ["/srv/model", "file:///srv/model", "ext::id", "https://a:b@c.d/e"])
def test_recipe_lists_addresses_of_servers_alone(url):
    with pytest.raises(ValidationError, match="is not the address"):
        taking(git_urls=[url]).full_clean()


# --- what a run keeps ------------------------------------------------------------------------


def with_code(stored, recipe=None, **fields):
    recipe = recipe or taking()
    asked = request(stored, origin={"commit": COMMIT, "dirty": True}, patch="diff --git …")
    return create(recipe, asked, **fields)


def test_resumed_run_keeps_its_code(stored):
    source = with_code(stored)
    artifact = checkpoint(source)

    run = actions.resume_run(source, Checkpoint(artifact.pk, 100), by=None)

    kept = RunCode.of(run)
    assert (kept.bundle, kept.commit, kept.patch) == (stored, COMMIT, "diff --git …")


def test_resumed_run_gets_other_code_if_asked(stored):
    source = with_code(stored)
    other = bundle({"train.py": "other"})

    run = actions.resume_run(
        source, Checkpoint(checkpoint(source).pk, 100), by=None, code=request(other)
    )

    assert RunCode.of(run).bundle == other


def test_retried_run_keeps_its_code(stored):
    source = with_code(stored)
    source.transition(RunStatus.CANCELLED)

    run = actions.retry_run(source, by=UserFactory())

    assert RunCode.of(run).bundle == stored


def test_member_retries_what_an_operator_has_brought(stored):
    source = with_code(stored, taking(code_from="operators"), by=operator())
    source.transition(RunStatus.CANCELLED)

    run = actions.retry_run(source, by=UserFactory())

    assert RunCode.of(run).bundle == stored


def test_code_is_not_kept_once_the_recipe_takes_none(stored):
    source = with_code(stored)
    source.transition(RunStatus.CANCELLED)
    Recipe.objects.filter(pk=source.recipe_id).update(code_from="nobody")

    with pytest.raises(CodeNotAllowed):
        actions.retry_run(type(source).objects.get(pk=source.pk), by=None)


def test_code_is_not_carried_to_a_recipe_of_operators(stored):
    source = with_code(stored)
    start = Checkpoint(checkpoint(source).pk, 100)

    with pytest.raises(CodeForbidden):
        actions.resume_run(source, start, by=UserFactory(), recipe=taking(code_from="operators"))


def test_code_stays_behind_when_a_run_goes_on_with_a_recipe_that_takes_none(stored):
    source = with_code(stored)
    start = Checkpoint(checkpoint(source).pk, 100)

    run = actions.resume_run(source, start, by=None, recipe=RecipeFactory())

    assert RunCode.of(run) is None


def test_code_is_deleted_with_its_run(stored):
    run = with_code(stored)

    run.delete()

    assert not RunCode.objects.exists()
