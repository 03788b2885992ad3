"""A Ray that only answers, for what needs no cluster: which states jobs are in, who is asked."""

from types import SimpleNamespace

from execution.executors.ray import client


class ImitatedRay:
    """Stands for Ray's JobSubmissionClient, and what lists its nodes. ``states``: submission id →
    state; ``nodes``: the resources of each node."""

    def __init__(self, monkeypatch):
        self.states = {}
        self.messages = {}
        self.submitted = []
        self.stopped = []
        self.problem = None
        self.nodes = []
        monkeypatch.setattr(client, "_client", lambda _deadline: self)
        monkeypatch.setattr(client, "_nodes", self.list_nodes)

    def _check(self):
        if self.problem is not None:
            raise self.problem

    def list_jobs(self):
        self._check()
        return [
            SimpleNamespace(submission_id=name, status=state, message=self.messages.get(name, ""))
            for name, state in self.states.items()
        ]

    def list_nodes(self, _deadline):
        self._check()
        return [SimpleNamespace(resources_total=resources) for resources in self.nodes]

    def submit_job(self, *, submission_id, **options):
        self._check()
        if submission_id in self.states:
            text = f"Request failed with status code 500: Job with submission_id {submission_id}"
            raise RuntimeError(f"{text} already exists. Please use a different submission_id.\n.")
        self.submitted.append({"submission_id": submission_id, **options})
        self.states[submission_id] = "PENDING"

    def stop_job(self, submission_id):
        self._check()
        self.stopped.append(submission_id)
        self.states[submission_id] = "STOPPED"
