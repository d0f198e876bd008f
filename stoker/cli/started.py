"""What a process over a cluster was started with: variables and command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from stoker.settings import ProcessConfig
from stoker.settings.configmap import NAME, process_config

CONFIG_MAP = "STOKER_CONFIG_MAP"


@dataclass(frozen=True, slots=True)
class Started:
    """``overrides``: process settings of the command line; ``config_map``: the name of the
    ConfigMap that is under both."""

    environ: Mapping[str, str]
    overrides: Mapping[str, str]
    config_map: str

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """From the flags of a command for clusters, and this process's environment."""
        overrides = {
            n: v for n in ("listen", "admin") if (v := getattr(arguments, n, None)) is not None
        }
        name = arguments.config_map or os.environ.get(CONFIG_MAP) or NAME
        return cls(dict(os.environ), overrides, name)

    def process(self, shared: Mapping[str, str]) -> ProcessConfig:
        """With ``shared``, the ConfigMap's settings of processes. Raises SettingsError."""
        return process_config(
            shared, "the environment", environ=self.environ, overrides=self.overrides
        )
