"""The ConfigMap with settings of all models: what it says now, and what is in force."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stoker.errors import SettingsError
from stoker.platforms.kubernetes.recorder import Note
from stoker.platforms.kubernetes.reflection import Changed, Delta
from stoker.settings.configmap import NAME, ClusterSettings, read_data
from stoker.telemetry import CONFIG_REFUSED, CONFIG_RELOADS, Reading
from stoker.vocabulary import ModelKey

logger = logging.getLogger(__name__)

Obj = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ConfigMapView:
    """What is kept of a ConfigMap."""

    namespace: str
    name: str
    uid: str
    data: tuple[tuple[str, str], ...]


def view(configmap: Obj) -> ConfigMapView:
    metadata = configmap["metadata"]
    data = tuple((configmap.get("data") or {}).items())
    return ConfigMapView(metadata["namespace"], metadata["name"], metadata["uid"], data)


def _nothing(processes: Mapping[str, str]) -> None:
    del processes


class SharedSettings:
    """The ConfigMap ``name`` of ``namespace``; where there is none, nothing is set.

    ``accept`` takes the settings of processes (``ClusterSettings.processes``) into force, or
    raises SettingsError: then the ConfigMap is refused as a whole.
    """

    def __init__(
        self,
        namespace: str,
        name: str = NAME,
        *,
        accept: Callable[[Mapping[str, str]], None] = _nothing,
    ) -> None:
        self.path = f"/api/v1/namespaces/{namespace}/configmaps"
        self.query = {"fieldSelector": f"metadata.name={name}"}
        self.refused = ""
        self._name = f"ConfigMap {namespace}/{name}"
        self._accept = accept
        self._in_force = ClusterSettings()
        self._reloads = {"applied": 0, "refused": 0}

    @property
    def models(self) -> Mapping[str, Any]:
        """The values in force under those of each model, by field."""
        return self._in_force.models

    def changed(self, deltas: Iterable[Delta[ConfigMapView]]) -> tuple[bool, list[Note]]:
        """Whether ``models`` has changed, and what is to be told of it at the ConfigMap."""
        before = self.models
        notes: list[Note] = []
        for delta in deltas:
            there = delta.new if isinstance(delta, Changed) else None
            try:
                self._take(there)
            except SettingsError as error:
                self._reloads["refused"] += 1
                self.refused = "; ".join(str(problem) for problem in error.problems)
                logger.error("%s: refused, the last good one stays: %s", self._name, self.refused)
                if there is not None:
                    said = f"{self.refused}; the last good settings stay"
                    notes.append(_note(there, "SettingsRefused", said, warning=True))
            else:
                self._reloads["applied"] += 1
                self.refused = ""
                if there is not None and (ignored := self._in_force.notices):
                    notes.append(_note(there, "SettingsIgnored", "; ".join(ignored)))
        return self.models != before, notes

    def _take(self, there: ConfigMapView | None) -> None:
        settings = ClusterSettings() if there is None else read_data(dict(there.data), self._name)
        self._accept(settings.processes)
        self._in_force = settings
        count = len(settings.models) + len(settings.processes)
        gone = "is gone, the built-in defaults are" if there is None else f"{count} settings"
        logger.info("%s: %s in force", self._name, gone)
        for notice in settings.notices:
            logger.info("%s: %s", self._name, notice)

    def readings(self) -> Iterator[Reading]:
        """How often it was read, by outcome; whether it is refused now."""
        for outcome, count in self._reloads.items():
            yield Reading(CONFIG_RELOADS, (outcome,), count)
        yield Reading(CONFIG_REFUSED, (), float(bool(self.refused)))


def _note(there: ConfigMapView, reason: str, message: str, *, warning: bool = False) -> Note:
    key = ModelKey(there.namespace, there.name)
    return Note(key, there.uid, reason, message, warning, "ConfigMap")
