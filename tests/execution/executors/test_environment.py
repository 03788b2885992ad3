"""What of its worker's environment a training sees."""

import pytest

from execution.executors import environment


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PATH", "/bin"), ("HOME", "/home/me"), ("LC_ALL", "C.UTF-8"), ("LANG", "zh_CN.UTF-8")),
        *(("CUDA_HOME", "/cuda"), ("NCCL_SOCKET_IFNAME", "eth0"), ("HF_HOME", "/models")),
        *(("OMP_NUM_THREADS", "4"), ("https_proxy", "http://proxy:3128"), ("SLURM_JOB_ID", "7")),
    ],
)
def test_what_a_training_needs_is_inherited(monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    assert environment.inherited()[name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("POSTGRES_PASSWORD", "x"), ("DATABASE_URL", "x"), ("AWS_SECRET_ACCESS_KEY", "x")),
        *(("AWS_ACCESS_KEY_ID", "x"), ("TRAINHUB_SECRET_KEY", "x"), ("HF_TOKEN", "x")),
        *(("WANDB_API_KEY", "x"), ("PGPASSWORD", "x"), ("SSH_AUTH_SOCK", "x"), ("ANYTHING", "x")),
        *(("SLURM_JWT_KEY", "x"), ("https_proxy", "http://me:password@proxy:3128")),
        *(("HTTP_PROXY", "me:password@proxy:3128"), ("SLURM_JWT", "x"), ("TF_VAR_db", "x")),
        ("TF_CLI_ARGS", "-var password=x"),
    ],
)
def test_what_may_be_secret_is_not(monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    assert name not in environment.inherited()


def test_setting_names_further_variables(monkeypatch, settings):
    monkeypatch.setenv("WANDB_API_KEY", "x")
    settings.TRAINING_ENVIRONMENT = ["WANDB_API_KEY"]

    assert environment.inherited()["WANDB_API_KEY"] == "x"
