"""The GPUs of this host: which ones there are, and how busy they are.

A device's name is what the variable for a process (CUDA_VISIBLE_DEVICES and its like) calls it: a
number or a UUID.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final, Protocol

from django.conf import settings

logger = logging.getLogger(__name__)

NONE: Final = "none"  # TRAINHUB_GPUS: do not look for any
CUDA: Final = "CUDA_VISIBLE_DEVICES"
MEGABYTE: Final = 1e6


@dataclass(frozen=True)
class Device:
    index: int
    uuid: str

    def is_called(self, name: str) -> bool:
        """Whether ``name`` means this device. CUDA also accepts the beginning of a UUID."""
        return name == str(self.index) or (len(name) > 4 and self.uuid.startswith(name))


@dataclass(frozen=True)
class Reading:
    """How a device is doing; None: the driver does not tell."""

    device: Device
    utilization: float | None = None  # percent
    memory_used: float | None = None  # MB
    memory_total: float | None = None  # MB
    power: float | None = None  # watts
    power_limit: float | None = None  # watts
    temperature: float | None = None  # degrees Celsius


class DeviceSource(Protocol):
    def devices(self) -> list[Device]: ...

    def readings(self) -> list[Reading]: ...


class NoDevices:
    """A host without a driver that could be asked."""

    def devices(self) -> list[Device]:
        return []

    def readings(self) -> list[Reading]:
        return []


class NvmlDevices:
    """NVIDIA's GPUs, from the driver's management library."""

    def __init__(self, nvml: ModuleType) -> None:
        """Raises NVMLError if there is no driver."""
        self._nvml = nvml
        nvml.nvmlInit()

    def devices(self) -> list[Device]:
        indexes = range(self._nvml.nvmlDeviceGetCount())
        uuids = [str(self._nvml.nvmlDeviceGetUUID(self._handle(index))) for index in indexes]
        return [Device(index, uuid) for index, uuid in zip(indexes, uuids, strict=True)]

    def readings(self) -> list[Reading]:
        return [self._reading(device) for device in self.devices()]

    def _handle(self, index: int) -> Any:
        return self._nvml.nvmlDeviceGetHandleByIndex(index)

    def _reading(self, device: Device) -> Reading:
        nvml, handle = self._nvml, self._handle(device.index)

        def ask(question: Callable[[], float]) -> float | None:
            try:
                return float(question())
            except nvml.NVMLError:  # not every device answers every question
                return None

        return Reading(
            device,
            utilization=ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            memory_used=ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / MEGABYTE),
            memory_total=ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total / MEGABYTE),
            power=ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            power_limit=ask(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000),
            temperature=ask(
                lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
        )


@cache
def device_source() -> DeviceSource:
    """This host's source; says in the log why there is none."""
    try:
        pynvml = import_module("pynvml")
    except ImportError:
        logger.info("nvidia-ml-py is not installed: no GPUs are looked for")
        return NoDevices()
    try:
        return NvmlDevices(pynvml)
    except pynvml.NVMLError as error:
        logger.info("no NVIDIA driver answers (%s): no GPUs are known", error)
        return NoDevices()


def known_devices(source: DeviceSource) -> list[str] | None:
    """The names of the devices that this host's workers may assign; None if none are known.

    As set by hand (TRAINHUB_GPUS), otherwise those that ``source`` finds, without those that this
    process's own CUDA_VISIBLE_DEVICES leaves out.
    """
    text = settings.GPUS.strip()
    if text:
        names = [name.strip() for name in text.split(",") if name.strip()]
        return None if text.lower() == NONE else list(dict.fromkeys(names))
    found = source.devices()
    visible = os.environ.get(CUDA)
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        found = [device for device in found if any(device.is_called(name) for name in names)]
    return [str(device.index) for device in found] or None


def variables_of(devices: list[str], *, known: bool) -> dict[str, str]:
    """The variables that show a process the ``devices`` assigned to it, and no others.

    Without devices: it sees none if its host's are ``known``, for they are other runs'; otherwise
    nothing is set.
    """
    if not devices and not known:
        return {}
    variables = dict.fromkeys(settings.GPU_VARIABLES, ",".join(devices))
    if CUDA in variables and all(name.isdecimal() for name in devices):
        # The driver's numbers, not CUDA's own order, which begins with the fastest.
        variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    return variables
