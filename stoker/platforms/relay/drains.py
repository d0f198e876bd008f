"""When a draining replica may be stopped: once every worker has said that it is empty. Pure."""

from __future__ import annotations


class Drains:
    """Who has still to say of which replica that no request of theirs is left in it.

    Workers are known by number. A worker that comes later meets the replica as draining and
    sends it nothing, so it is not waited for.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, set[int]] = {}

    def begin(self, replica_id: str, workers: set[int]) -> bool:
        """The replica drains and ``workers`` may have requests in it. True: nobody has."""
        if replica_id in self._waiting:
            return False
        self._waiting[replica_id] = set(workers)
        return self._over(replica_id)

    def drained(self, worker: int, replica_id: str) -> bool:
        """``worker`` has none left in it. True: that was the last (said once)."""
        waiting = self._waiting.get(replica_id)
        if waiting is None or worker not in waiting:
            return False
        waiting.discard(worker)
        return self._over(replica_id)

    def worker_gone(self, worker: int) -> list[str]:
        """``worker`` ended, and its requests with it; returns the replicas that are empty now."""
        return [id for id in list(self._waiting) if self.drained(worker, id)]

    def replica_gone(self, replica_id: str) -> None:
        """Nothing more is to be known of it. Unknown ids are ignored."""
        self._waiting.pop(replica_id, None)

    def _over(self, replica_id: str) -> bool:
        # The entry stays until the replica is gone: it says that it was dealt with.
        return not self._waiting[replica_id]
