"""What a recipe may ask of Ray."""

import pytest

from core.exceptions import InvalidInput
from runs.resources import check_engine_options


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"runtime_env": {"pip": ["torch"], "env_vars": {"A": "1"}}},
        {"resources": {"fast_disk": 0.5}},
        {"labels": {"ray.io/accelerator-type": "H100"}},
    ],
)
def test_option_of_ray_is_taken(options):
    check_engine_options("ray", options)


@pytest.mark.parametrize(
    "options",
    [
        {"partition": "main"},
        {"runtime_env": "pip"},
        {"runtime_env": {"working_dir": "."}},
        {"runtime_env": {"env_vars": {"A": 1}}},
        {"runtime_env": {"env_vars": ["A"]}},
        {"resources": {"GPU": 1}},
        {"resources": {"disk": 0}},
        {"resources": {"disk": True}},
        {"resources": {"disk": float("nan")}},
        {"labels": {"zone": 1}},
    ],
)
def test_other_option_is_refused(options):
    with pytest.raises(InvalidInput):
        check_engine_options("ray", options)
