"""The exchanges of one client in order. Requests may arrive before earlier ones are answered (HTTP pipelining)."""

from __future__ import annotations

from collections import deque

from mclass_tf.local.balancer.exchange import Exchange
from mclass_tf.local.balancer.phases import ExchangePhase, RequestPhase
from mclass_tf.local.balancer.protocols import ExchangeClient

_RECEIVING = RequestPhase.RECEIVING
_QUEUED, _OVER = ExchangePhase.QUEUED, ExchangePhase.OVER


class Pipeline:
    """The first of `exchanges` is being answered. The request of `receiving` is still arriving."""

    def __init__(self, client: ExchangeClient) -> None:
        self.exchanges: deque[Exchange] = deque()
        self.receiving: Exchange | None = None
        self._client = client
        self._is_advancing = False

    @property
    def is_awaiting_client(self) -> bool:
        """Whether nothing can happen until the client sends something."""
        exchanges = self.exchanges
        return not exchanges or exchanges[0].phase is _OVER or exchanges[-1].sender.phase is _RECEIVING

    def advance(self) -> None:
        """Begin requests in order, each when the previous answer has ended.

        A request without a body begins when it is complete, one with a body when its head is.
        This is a loop instead of recursion, because a client may send thousands at once.
        """
        if self._is_advancing or self._client.closes:
            return
        self._is_advancing = True
        exchanges = self.exchanges
        while exchanges:
            first = exchanges[0]
            is_received = first.sender.phase is not _RECEIVING
            if first.phase is _OVER and is_received:
                exchanges.popleft()
            elif first.phase is _QUEUED and (is_received or first.request.has_body):
                first.begin()
                if self._client.closes:
                    break
            else:
                break
        self._is_advancing = False

    def client_disconnected(self) -> None:
        exchanges, self.exchanges = self.exchanges, deque()
        for exchange in exchanges:
            exchange.client_disconnected()
