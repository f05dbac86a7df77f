"""Batches on the device before they are asked for."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from inceptionnext_jax.types import HostBatch

AHEAD = 2  # batches on the device besides the one in use


class Prefetcher:
    """Loads and transfers in a thread; counts the seconds that the consumer had to wait."""

    def __init__(
        self,
        batches: Iterator[HostBatch],
        transfer: Callable[[HostBatch], Any],
    ):
        self.waited = 0.0  # seconds
        self._queue: queue.Queue[Any] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(batches, transfer), daemon=True)
        self._thread.start()

    def _fill(self, batches: Iterator[Any], transfer: Callable[[Any], Any]) -> None:
        try:
            for batch in batches:
                if not self._put(transfer(batch)):
                    return
            self._put(StopIteration())
        except BaseException as error:  # handed to the consumer, which raises it
            self._put(error)

    def _put(self, item: Any) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        start = time.perf_counter()
        item = self._queue.get()
        self.waited += time.perf_counter() - start
        if isinstance(item, BaseException):
            self._closed.set()
            raise item
        return item

    def close(self) -> None:
        """Stops the thread. The caller closes the batches' iterator afterwards."""
        self._closed.set()
        self._thread.join()
