"""Users with teams and projects, for a new database: python -m benchmarks.members [TOKENS].

Prints JSON: ``project_id`` of 200, a ``run_id`` of it, as many ``tokens`` of a member, of a viewer,
a maintainer and an operator, the ``project_ids`` that the member may see, those that only the
operator sees, as ``strange_ids``, and the ``password`` of all of them.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Final

import django

PROJECTS: Final = 200
TEAMS: Final = 50
METRICS: Final = 20  # of the run
MEMBERS: Final = 5  # of a team, besides
PASSWORD: Final = "correct horse battery"  # noqa: S105

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    django.setup()

    from django.contrib.auth.models import User

    from accounts.models import Team, TeamMembership, Token
    from accounts.roles import Role, Scope
    from metrics.points import Points
    from metrics.recording import record_points
    from projects.models import Project
    from runs.actions import create_run

    teams = [Team.objects.create(name=f"team {number}") for number in range(TEAMS)]
    for team in teams:
        for number in range(MEMBERS):
            user = User.objects.create_user(f"{team.name} {number}")
            TeamMembership.objects.create(team=team, user=user, role=Role.MEMBER)
    projects = [
        Project.create({"name": f"project {number}"}, by=None, team=teams[number % TEAMS])
        for number in range(PROJECTS)
    ]
    users = {
        "operator": User.objects.create_superuser("operator", password=PASSWORD),
        **{
            role.name.lower(): User.objects.create_user(role.name.lower(), password=PASSWORD)
            for role in (Role.VIEWER, Role.MEMBER, Role.MAINTAINER)
        },
    }
    for role in (Role.VIEWER, Role.MEMBER, Role.MAINTAINER):
        for team in teams[:3]:
            TeamMembership.objects.create(team=team, user=users[role.name.lower()], role=role)
    run = create_run(projects[0], by=users["member"], hyperparameters={"learning_rate": 3e-5})
    names = [f"metric_{number}" for number in range(METRICS)]
    steps, times, values = [1] * METRICS, [1_760_000_000_000] * METRICS, [0.5] * METRICS
    record_points(run.pk, Points.in_columns(names, steps, times, values))
    visible = list(Project.objects.visible_to(users["member"]).values_list("pk", flat=True))
    told = {
        "project_id": projects[0].pk,
        "run_id": run.pk,
        "tokens": {
            name: [
                Token.issue(user, name=f"benchmark {number}", scope=Scope.ADMIN)[1]
                for number in range(tokens)
            ]
            for name, user in users.items()
        },
        "project_ids": visible,
        "strange_ids": [project.pk for project in projects if project.pk not in visible],
        "password": PASSWORD,
    }
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()
