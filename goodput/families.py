"""Families of samples in Prometheus's text exposition format 0.0.4.

(https://prometheus.io/docs/instrumenting/exposition_formats)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    help: str
    samples: Iterable[Sample]
    type: Literal["gauge", "counter"] = "gauge"

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {_escaped(self.help, quotes=False)}"
        yield f"# TYPE {self.name} {self.type}"
        for labels, value in self.samples:
            inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{inside}}} {value!r}" if labels else f"{self.name} {value!r}"


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
