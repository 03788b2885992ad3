"""The GPUs of this host: which ones there are, and how busy they are.

A device's name is what the variable for a process (CUDA_VISIBLE_DEVICES and its like) calls it: a
number or a UUID.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final, Protocol

from django.conf import settings

logger = logging.getLogger(__name__)

NONE: Final = "none"  # TRAINHUB_GPUS: do not look for any
CUDA: Final = "CUDA_VISIBLE_DEVICES"
CARD: Final = "GPU-"  # how the UUID of a GPU begins
SLICE: Final = "MIG-"  # … that of a slice of a GPU; NVML does not list slices
UUID_LENGTH: Final = 40  # of a GPU; what is shorter is the beginning of one
MEGABYTE: Final = 1e6


@dataclass(frozen=True)
class Device:
    index: int
    uuid: str
    model: str = ""  # as its maker calls it, such as A100-SXM4-80GB

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
    def devices(self) -> list[Device] | None:
        """Those that work; None if it is not known which there are."""

    def readings(self) -> list[Reading]: ...


class NoDevices:
    """A host without a driver that could be asked."""

    def devices(self) -> list[Device] | None:
        return None

    def readings(self) -> list[Reading]:
        return []


class NvmlDevices:
    """NVIDIA's GPUs, from the driver's management library."""

    def __init__(self, nvml: ModuleType) -> None:
        """Raises NVMLError if there is no driver."""
        self._nvml = nvml
        self._lost: set[int] = set()  # indexes of devices that do not answer any more
        nvml.nvmlInit()

    def devices(self) -> list[Device] | None:
        found = [device for device, _handle in self._found()]
        return found if found or self._lost else None

    def readings(self) -> list[Reading]:
        return [self._reading(device, handle) for device, handle in self._found()]

    def _found(self) -> Iterator[tuple[Device, Any]]:
        """The devices that answer, with their handles."""
        nvml = self._nvml
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = str(nvml.nvmlDeviceGetUUID(handle))
                yield Device(index, uuid, _model_of(nvml, handle)), handle
            except nvml.NVMLError as error:  # it has fallen off the bus, for one
                if index not in self._lost:
                    logger.warning("GPU %d does not answer (%s)", index, error)
                self._lost.add(index)
            else:
                self._lost.discard(index)

    def _reading(self, device: Device, handle: Any) -> Reading:
        nvml = self._nvml

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


def _model_of(nvml: ModuleType, handle: Any) -> str:
    """The name of a device without its maker's; "" if the driver does not tell."""
    try:
        name = nvml.nvmlDeviceGetName(handle)
    except nvml.NVMLError:
        return ""
    text = name.decode() if isinstance(name, bytes) else str(name)  # bytes: earlier versions
    return text.removeprefix("NVIDIA ").strip()


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
    """The names of the devices that this host's workers may assign; None if it is not known which
    there are.

    As set by hand (TRAINHUB_GPUS), otherwise those that this process's own variable
    (CUDA_VISIBLE_DEVICES or its like) leaves of those that ``source`` finds.
    """
    text = settings.GPUS.strip()
    if text:
        return None if text.lower() == NONE else _names_in(text)
    found = source.devices()
    visible = _own_variable()
    if visible is None:
        return None if found is None else [str(device.index) for device in found]
    return _visible(_names_in(visible), found)


def _own_variable() -> str | None:
    """What tells this process which devices it may use; None if nothing does."""
    values = (os.environ.get(name) for name in (*settings.GPU_VARIABLES, CUDA))
    return next((value for value in values if value is not None), None)


def _visible(names: list[str], found: list[Device] | None) -> list[str]:
    """Those of a variable's ``names`` that mean a device. As for CUDA, one that means none, such as
    -1, hides those after it."""
    visible = []
    for name in names:
        if found is None:
            is_device = name.isdecimal() or name.startswith((CARD, SLICE))
        else:
            is_device = name.startswith(SLICE) or _find(name, found) is not None
        if not is_device:
            break
        visible.append(name)
    return visible


def _names_in(text: str) -> list[str]:
    """The names in a list, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _find(name: str, devices: list[Device]) -> Device | None:
    return next((device for device in devices if device.is_called(name)), None)


def uuids_of(names: list[str], source: DeviceSource) -> list[str]:
    """The UUID of each device, by which it is recognized whatever a worker calls it and whatever
    container the worker runs in; "" if it is not known."""
    found = source.devices() or []
    uuids = []
    for name in names:
        device = _find(name, found)
        is_uuid = name.startswith(SLICE) or (name.startswith(CARD) and len(name) == UUID_LENGTH)
        uuids.append(device.uuid if device is not None else name if is_uuid else "")
    return uuids


def models_of(names: list[str], source: DeviceSource) -> list[str]:
    """The model of each device; "" if it is not known."""
    found = source.devices() or []
    devices = (_find(name, found) for name in names)
    return ["" if device is None else device.model for device in devices]


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
