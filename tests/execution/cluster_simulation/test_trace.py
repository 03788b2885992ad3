"""Reading the jobs of a cluster from CSV."""

import pytest

from execution.cluster_simulation.trace import BadTrace, Ending, read_trace


def trace(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return read_trace(path)


def test_jobs_are_read_by_submission_from_the_first_on(tmp_path):
    jobs = trace(
        tmp_path,
        "submitted,gpus,seconds,kind,project,priority,preemptible,ending,planned_seconds\n"
        "200,8,60,pretraining,b,3,yes,failed,600\n"
        "100,1,30,evaluation,a,,,,\n",
    )

    assert [(job.submitted, job.gpu_count, job.seconds) for job in jobs] == [
        (0.0, 1, 30.0),
        (100.0, 8, 60.0),
    ]
    assert (jobs[1].priority, jobs[1].preemptible, jobs[1].ending) == (3, True, Ending.FAILED)
    assert (jobs[0].planned_seconds, jobs[1].planned_seconds) == (30.0, 600.0)


def test_columns_of_a_published_trace_are_understood(tmp_path):
    [job] = trace(
        tmp_path,
        "name,num_gpu,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
        "pod,2,LS,Succeeded,50,1000,100\n"
        "without,0,LS,Succeeded,50,1000,100\n"
        "never,1,LS,Failed,50,,\n",
    )

    assert (job.gpu_count, job.seconds, job.kind) == (2, 900.0, "LS")


def test_times_may_be_iso_8601(tmp_path):
    jobs = trace(
        tmp_path,
        "submitted_at,gpus,duration\n2026-01-01T00:00:00Z,1,5\n2026-01-01T00:01:00Z,1,5\n",
    )

    assert jobs[1].submitted == 60.0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "lacks columns"),
        ("submitted,gpus\n1,1\n", "seconds"),
        ("submitted,gpus,seconds\n1,x,1\n", "Line 2"),
        ("submitted,gpus,seconds\nsoon,1,1\n", "Line 2"),
        ("submitted,gpus,seconds\n1,1,-5\n", "Line 2"),
        ("submitted,gpus,seconds\nnan,1,5\n", "Line 2"),
        ("submitted,gpus,seconds\n1,999999,5\n", "Line 2"),
        ("submitted,gpus,seconds,priority\n1,1,5,101\n", "Line 2"),
        ("submitted,gpus,seconds\n1,0,5\n", "no job"),
    ],
)
def test_nonsense_is_refused_with_its_line(tmp_path, text, why):
    with pytest.raises(BadTrace, match=why):
        trace(tmp_path, text)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(BadTrace):
        read_trace(path)
