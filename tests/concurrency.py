"""Concurrent database connections, to test locks. For tests with ``transaction=True``."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction


def in_parallel(*functions: Callable[[], Any]) -> list[Any]:
    """Call each function in its own thread at the same time; return results or exceptions."""
    barrier = threading.Barrier(len(functions))

    def call(function: Callable[[], Any]) -> Any:
        try:
            barrier.wait(timeout=30)
            return function()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(call, functions))


@contextmanager
def transaction_elsewhere(function: Callable[[], Any]) -> Iterator[Any]:
    """Call ``function`` in a transaction on another connection that stays open during the block.

    Yields its result; commits when the block ends.
    """
    result: Future[Any] = Future()
    block_ended = threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                result.set_result(function())
                block_ended.wait(timeout=60)
        except Exception as error:
            result.set_exception(error)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield result.result(timeout=30)
    finally:
        block_ended.set()
        thread.join()


def some_connection_waits_for_lock() -> bool:
    """Call outside of a transaction, which would see what was so when it first asked."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.rowcount > 0
