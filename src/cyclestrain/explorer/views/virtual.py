"""Virtual images made in the background, shown as they grow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from bokeh.document import Document

from cyclestrain.errors import CyclestrainError
from cyclestrain.explorer.detectors import Detector
from cyclestrain.explorer.session import Session

__all__ = ["InBackground"]

PAUSE = 0.25
"""Least time between two pictures of an image that grows, seconds."""
_POOL = ThreadPoolExecutor(2, thread_name_prefix="virtual")


class InBackground:
    """Makes the virtual images of a session.

    Parameters
    ----------
    session
        Whose images.
    document
        Which is told of them; None to make each while the person waits.
    arrived
        Called when there is more of an image to see.
    failed
        Called with what went wrong.
    """

    def __init__(
        self,
        session: Session,
        document: Document | None,
        arrived: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        self._session, self._document, self._arrived, self._failed = session, document, arrived, failed
        self._wanted: Detector | None = None
        self._next = 0.0

    def want(self, detector: Detector | None) -> None:
        """Make the image of a detector, unless it is there or being made."""
        images = self._session.opened.virtual
        if images is None or detector is None or detector == self._wanted or images.so_far(detector)[1]:
            return
        self._wanted = detector
        if self._document is None:
            self._make(detector)
        else:
            _POOL.submit(self._make, detector)

    def _make(self, detector: Detector) -> None:
        images = self._session.opened.virtual
        assert images is not None
        try:
            images.image(detector, lambda: self._report(detector))
        except (CyclestrainError, OSError, RuntimeError, ValueError, KeyError) as error:
            text = f"the virtual image could not be made: {error}"
            self._tell(lambda: self._failed(text))
        else:
            if self._document is not None:
                self._tell(self._arrived)
        finally:
            if self._wanted == detector:
                self._wanted = None

    def _report(self, detector: Detector) -> None:
        if self._document is None or detector != self._wanted or monotonic() < self._next:
            return
        self._next = monotonic() + PAUSE
        self._tell(self._arrived)

    def _tell(self, what: Callable[[], None]) -> None:
        if self._document is None:
            what()
        else:
            self._document.add_next_tick_callback(what)
