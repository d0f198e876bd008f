"""Replicas as processes of this machine: started, probed, drained and stopped by Stoker."""

from __future__ import annotations

from stoker.platforms.local.platform import LocalPlatform

__all__ = ["LocalPlatform"]
