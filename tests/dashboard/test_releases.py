"""The pages of gates, requests for releases, and evaluations."""

import pytest
from django.urls import reverse
from django.utils.html import escape

from accounts.roles import Role
from artifacts.kinds import TagValue
from registry.approval import ask
from registry.evaluation_rules import EvaluationRule, create_rule
from registry.release_policy import ReleasePolicy, change_policy
from registry.release_requests import ReleaseRequest, RequestState
from runs.models import RecipeKind
from tests.factories import ProjectFactory, RecipeFactory, RunFactory, checkpoint, member_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False
    settings.LANGUAGE_CODE = "en"


@pytest.fixture
def project():
    project = ProjectFactory()
    change_policy(project, by=None, needs_approval=True)
    return project


@pytest.fixture
def artifact(project):
    return checkpoint(RunFactory(project=project), step=10)


def signed_in(client, user):
    client.force_login(user)
    return client


def page_of(artifact):
    run = artifact.run
    return reverse("dashboard:checkpoint-release", args=[run.project_id, run.pk, artifact.pk])


def at(name, project, *args):
    return reverse(f"dashboard:{name}", args=[project.pk, *args])


def shown(client, url):
    return client.get(url).content.decode()


def test_button_asks_for_the_release(client, project, artifact):
    signed_in(client, member_of(project))
    page = shown(client, page_of(artifact))

    answer = client.post(page_of(artifact), {"tag": "发布", "notes": "ready"}, follow=True)

    assert "Ask for the release" in page
    assert ReleaseRequest.objects.get().notes == "ready"
    assert "was recorded" in answer.content.decode()
    assert not artifact.tags.exists()


def test_page_shows_gates_with_what_is_missing(client, project, artifact):
    change_policy(project, by=None, gates=[{"kind": "metric", "key": "acc", "threshold": 0.5}])
    signed_in(client, member_of(project))

    page = shown(client, page_of(artifact))

    assert "acc &gt;= 0.5" in page
    assert "not passed" in page
    assert "It has not been measured." in page


def test_other_maintainer_approves_on_the_page(client, project, artifact):
    asked = ask(artifact, notes="", by=member_of(project))
    signed_in(client, member_of(project, Role.MAINTAINER))
    page = shown(client, page_of(artifact))
    url = at("release-decide", project, asked.pk, "approve")

    client.post(url, {"notes": "checked"})

    assert url in page
    assert artifact.tags.get().value == TagValue.RELEASED
    assert "checked" in shown(client, page_of(artifact))


def test_asker_is_offered_to_withdraw_and_not_to_approve(client, project, artifact):
    owner = member_of(project, Role.OWNER)
    asked = ask(artifact, notes="", by=owner)
    signed_in(client, owner)
    page = shown(client, page_of(artifact))

    client.post(at("release-decide", project, asked.pk, "withdraw"))

    asked.refresh_from_db()
    assert at("release-decide", project, asked.pk, "withdraw") in page
    assert at("release-decide", project, asked.pk, "approve") not in page
    assert asked.state == RequestState.WITHDRAWN


def test_refusal_by_a_rule_is_told(client, project, artifact):
    owner = member_of(project, Role.OWNER)
    asked = ask(artifact, notes="", by=owner)
    signed_in(client, owner)

    answer = client.post(at("release-decide", project, asked.pk, "approve"), follow=True)

    assert "somebody else has to decide" in answer.content.decode()


def test_open_requests_are_on_the_releases_page_and_wait_on_the_first(client, project, artifact):
    asked = ask(artifact, notes="please look", by=member_of(project))
    maintainer = member_of(project, Role.MAINTAINER)
    signed_in(client, maintainer)

    assert "please look" in shown(client, at("project-releases", project))
    assert f"request-{asked.pk}" in shown(client, reverse("dashboard:home"))


@pytest.mark.parametrize("who", ["asker", "member", "stranger"])
def test_request_does_not_wait_for_those_who_cannot_decide(client, project, artifact, who):
    asker = member_of(project, Role.MAINTAINER)
    asked = ask(artifact, notes="", by=asker)
    member, stranger = member_of(project), member_of(ProjectFactory(), Role.OWNER)
    signed_in(client, {"asker": asker, "member": member, "stranger": stranger}[who])

    assert f"request-{asked.pk}" not in shown(client, reverse("dashboard:home"))


def test_owner_sets_what_a_release_needs(client, project):
    signed_in(client, member_of(project, Role.OWNER))
    form = {
        "metrics": "mmlu/acc >= 0.6\n\nloss<=2",
        "verifies": "on",
        "within_days": "7",
        "card": ["license"],
    }

    client.post(at("release-policy-change", project), form)

    policy = ReleasePolicy.of(project.pk)
    assert not policy.needs_approval
    assert [str(gate.title) for gate in policy.gates][:2] == ["mmlu/acc >= 0.6", "loss <= 2"]
    page = shown(client, at("release-policy", project))
    assert "mmlu/acc &gt;= 0.6" in page
    assert "loss &lt;= 2.0" in page


@pytest.mark.parametrize("line", ["be good", "loss < 2", "loss == 2", "loss >= low"])
def test_gate_that_is_none_is_refused(client, project, line):
    signed_in(client, member_of(project, Role.OWNER))

    answer = client.post(at("release-policy-change", project), {"metrics": line})

    assert answer.status_code == 422
    assert f"{escape(line)} is not as in" in answer.content.decode()
    assert "The comparisons are &gt;= and &lt;=." in answer.content.decode()


def test_rule_is_added_and_removed(client, project):
    signed_in(client, member_of(project, Role.MAINTAINER))
    recipe = RecipeFactory(kind=RecipeKind.EVALUATION)

    client.post(at("evaluation-rule-new", project), {"recipe": recipe.pk, "every": "3"})
    rule = EvaluationRule.objects.get()
    page = shown(client, at("release-policy", project))
    client.post(at("evaluation-rule-remove", project, rule.pk))

    assert (rule.recipe, rule.every, rule.hyperparameters) == (recipe, 3, {})
    assert recipe.pk in page
    assert not EvaluationRule.objects.exists()


def test_rule_of_another_project_is_not_found(client, project):
    rule = create_rule(ProjectFactory(), by=None, recipe=RecipeFactory(kind="evaluation"), every=1)
    signed_in(client, member_of(project, Role.OWNER))

    answer = client.post(at("evaluation-rule-remove", project, rule.pk))

    assert answer.status_code == 404


def test_chosen_checkpoints_are_evaluated(client, project, artifact):
    recipe = RecipeFactory(kind=RecipeKind.EVALUATION)
    stranger = checkpoint(RunFactory())
    signed_in(client, member_of(project))
    page = shown(client, at("project-checkpoints", project))
    form = {"recipe": recipe.pk, "checkpoint": [artifact.pk, stranger.pk]}

    answer = client.post(at("evaluate-chosen", project), form, follow=True)

    evaluations = project.runs.filter(kind=RecipeKind.EVALUATION)
    assert f'value="{artifact.pk}"' in page
    assert [run.resumed_from_id for run in evaluations] == [artifact.pk]
    assert "1 evaluation is queued." in answer.content.decode()


def test_viewer_is_not_offered_to_evaluate(client, project, artifact):
    RecipeFactory(kind=RecipeKind.EVALUATION)
    signed_in(client, member_of(project, Role.VIEWER))

    page = shown(client, at("project-checkpoints", project))

    assert artifact.pk in page
    assert 'id="evaluate"' not in page
