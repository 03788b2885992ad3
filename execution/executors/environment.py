"""What of the worker's environment a training sees: what it needs to run, and nothing secret.

Anything else is set by its recipe, or named in the setting TRAINING_ENVIRONMENT.
"""

from __future__ import annotations

import os
import re
from typing import Final

from django.conf import settings

_NAMES: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM"}
    | {"LD_LIBRARY_PATH", "LD_PRELOAD", "LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"}
)
# Of the system, GPUs and what runs on them, launchers, threads, frameworks.
_PREFIXES: Final = (
    *("LC_", "XDG_"),
    *("CUDA_", "NVIDIA_", "NCCL_", "HIP_", "HSA_", "ROCR_", "ROCM_", "RCCL_", "ASCEND_", "HCCL_"),
    *("GLOO_", "UCX_", "FI_", "OMPI_", "PMIX_", "SLURM_", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_"),
    *("TORCH_", "PYTORCH_", "TRITON_", "XLA_", "JAX_", "TF_", "HF_", "TRANSFORMERS_", "DS_"),
)
# TF_VAR_ and TF_CLI_: of Terraform, not TensorFlow.
_SECRET: Final = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|PRIVATE|JWT|^TF_(?:VAR|CLI)_|_KEY$"
)
_CREDENTIALS: Final = re.compile(r"(?:^|://)[^/]*@")  # in an address, of a proxy for one


def inherited() -> dict[str, str]:
    """The variables of this process that a training gets."""
    further = set(settings.TRAINING_ENVIRONMENT)
    return {
        name: value
        for name, value in os.environ.items()
        if name in further or (_is_needed(name.upper()) and not _CREDENTIALS.search(value))
    }


def without_home(variables: dict[str, str]) -> dict[str, str]:
    """``variables`` without those that name folders of the worker's user (XDG Base Directory)."""
    return {name: value for name, value in variables.items() if not name.startswith("XDG_")}


def _is_needed(name: str) -> bool:
    return (name in _NAMES or name.startswith(_PREFIXES)) and not _SECRET.search(name)
