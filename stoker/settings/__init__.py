"""Settings: one table of all tunables, the files and variables they come from.

Order: built-in default < ``defaults:`` < the model's own block; for the process: built-in
default < ``stoker:`` < ``STOKER_*`` variables < command line.
"""

from stoker.settings.local import LocalConfig, environment_name, load
from stoker.settings.process_rows import LogLevel
from stoker.settings.resolve import ProcessConfig
from stoker.settings.table import TUNABLES
from stoker.settings.tunable import Scope, Section, Tunable

__all__ = [
    "TUNABLES",
    "LocalConfig",
    "LogLevel",
    "ProcessConfig",
    "Scope",
    "Section",
    "Tunable",
    "environment_name",
    "load",
]
