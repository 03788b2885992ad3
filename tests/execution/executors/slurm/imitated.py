"""A Slurm whose answers a test decides: nothing runs."""

from core.messages import Message
from execution.executors.slurm import host as hosts
from execution.executors.slurm import jobs
from execution.executors.slurm.commands import SlurmAway, SlurmRefused


class ImitatedSlurm:
    """``states``: of the jobs that were submitted, by their id."""

    def __init__(self, monkeypatch):
        self.commands = []
        self.states = {}
        self.names = {}
        self.reasons = {}
        self.is_away = False
        self.answer_to_sbatch = None  # an exception, raised after the job was taken if ``takes``
        self.takes = True
        for module in (hosts, jobs):
            monkeypatch.setattr(module, "slurm", self.slurm)

    def slurm(self, command, *, stdin=""):
        self.commands.append(command[0])
        if self.is_away:
            raise SlurmAway(Message("Slurm does not answer"))
        return getattr(self, command[0])(command)

    def sbatch(self, command):
        if self.takes:
            job_id = str(len(self.states) + 1)
            self.states[job_id] = "PENDING"
            self.names[job_id] = next(
                part.removeprefix("--job-name=")
                for part in command
                if part.startswith("--job-name=")
            )
        if self.answer_to_sbatch is not None:
            raise self.answer_to_sbatch
        return f"{job_id};cluster\n"

    def squeue(self, command):
        return "".join(
            f"{job_id}|{state}|{self.reasons.get(job_id, 'Resources')}|N/A|{self.names[job_id]}|\n"
            for job_id, state in self.states.items()
        )

    def scontrol(self, command):
        job_id = command[-1]
        if job_id not in self.states:
            raise SlurmRefused("Invalid job id specified")
        name, state = self.names[job_id], self.states[job_id]
        return f"JobId={job_id} JobName={name} JobState={state} Reason=None X=1 Restarts=0"

    def sacct(self, command):
        raise SlurmRefused("Slurm accounting storage is disabled")

    def scancel(self, command):
        if not any(part.startswith("--signal") for part in command):
            self.states[command[-1]] = "CANCELLED"
        return ""
