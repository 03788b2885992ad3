"""Many posts to a run whose row is locked leave the web server's threads to others."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from logs.models import LogLine
from runs.models import Run
from runs.status import RunStatus
from tests.concurrency import transaction_elsewhere
from tests.factories import ProjectFactory, RunFactory
from tests.waiting import wait_until
from tests.web_server import web_server

POSTS = 16  # as many as the server has threads


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_posts_to_a_locked_run_do_not_take_all_threads():
    project = ProjectFactory()
    locked, other = RunFactory.create_batch(
        2, project=project, recipe=None, status=RunStatus.RUNNING
    )
    runs = f"/projects/{project.pk}/runs"
    forever = {"TRAINHUB_LOCK_SECONDS": 0, "TRAINHUB_STATEMENT_SECONDS": 0}

    with web_server(**forever) as server, ThreadPoolExecutor(POSTS) as pool:
        body = {"lines": [{"message": "a"}]}
        with transaction_elsewhere(lambda: Run.objects.lock(locked.pk)):
            posts = [
                pool.submit(server.api.post, f"{runs}/{locked.pk}/logs", body)
                for _number in range(POSTS)
            ]
            wait_until(lambda: any(post.done() for post in posts))
            bystanders = {server.api.get(f"{runs}/{other.pk}").status for _number in range(20)}
        statuses = Counter(post.result().status for post in posts)

    assert bystanders == {200}
    assert set(statuses) == {201, 503}
    assert LogLine.objects.filter(run=locked).count() == statuses[201]
