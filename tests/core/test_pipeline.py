"""Several statements in one round trip: their rows, their errors, their transaction."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.db import DataError, OperationalError, connection, transaction

from core.database import Bigints, Statement
from core.pipeline import query, together
from tests.waiting import wait_until
from tests.workers import database_url

ECHO = Statement("SELECT %(number)s::bigint")
DIVIDE = Statement("SELECT 1 / %(number)s::integer")
FILL = Statement("INSERT INTO filling VALUES (%(number)s)")
KEY = 20_260_101
FILLED = Statement("SELECT number FROM filling")


@pytest.fixture
def filling():
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("CREATE TABLE filling (number integer)")
        yield
        other.execute("DROP TABLE filling")


@pytest.mark.django_db
def test_each_query_has_its_rows():
    numbers = Statement("SELECT unnest(%(numbers)s::bigint[])")

    rows = together(
        query(ECHO, number=1), query(numbers, numbers=Bigints([2, 3])), query(ECHO, number=4)
    )

    assert rows == [[(1,)], [(2,), (3,)], [(4,)]]


@pytest.mark.django_db
def test_error_is_raised_as_djangos_and_the_connection_goes_on():
    with pytest.raises(DataError), transaction.atomic():
        together(query(ECHO, number=1), query(DIVIDE, number=0), query(ECHO, number=2))

    assert together(query(ECHO, number=3)) == [[(3,)]]
    assert ECHO.row(number=4) == (4,)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_queries_are_rolled_back_with_the_transaction_that_they_begin(filling):
    with transaction.atomic():
        together(query(FILL, number=1), query(FILL, number=2))
        transaction.set_rollback(True)

    assert FILLED.rows() == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_queries_without_a_transaction_are_one(filling):
    with pytest.raises(DataError):
        together(query(FILL, number=1), query(DIVIDE, number=0))

    _filled, rows = together(query(FILL, number=2), query(FILLED))
    assert rows == [(2,)]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_queries_are_tried_again_after_a_lost_connection():
    together(query(ECHO, number=1))
    kill_connection()

    assert together(query(ECHO, number=2), query(ECHO, number=3)) == [[(2,)], [(3,)]]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_lost_connection_fails_the_transaction():
    def lose_connection_in_transaction() -> None:
        with transaction.atomic():
            together(query(ECHO, number=1))
            kill_connection()
            together(query(ECHO, number=2), query(ECHO, number=3))

    with pytest.raises(OperationalError):
        lose_connection_in_transaction()
    connection.close()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_deallocated_statements_are_prepared_again():
    together(query(ECHO, number=1), query(DIVIDE, number=1))
    with connection.cursor() as cursor:
        cursor.execute("DISCARD PLANS; DEALLOCATE ALL")

    assert together(query(ECHO, number=2), query(DIVIDE, number=1)) == [[(2,)], [(1,)]]


@pytest.mark.django_db
def test_more_than_the_socket_holds_is_sent():
    numbers = Statement("SELECT cardinality(%(numbers)s::bigint[])")
    many = Bigints(range(500_000))

    assert together(*[query(numbers, numbers=many)] * 4) == [[(500_000,)]] * 4


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_other_threads_go_on_while_one_waits():
    lock = Statement("SELECT 1 FROM pg_advisory_xact_lock(%(key)s::bigint)")
    waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"

    def locked():
        rows = together(query(lock, key=KEY))
        connection.close()
        return rows

    with (
        psycopg.connect(database_url(), autocommit=True) as other,
        ThreadPoolExecutor(1) as threads,
    ):
        other.execute("SELECT pg_advisory_lock(%s)", [KEY])
        answer = threads.submit(locked)
        wait_until(lambda: other.execute(waiting).fetchone() == (True,))
        other.execute("SELECT pg_advisory_unlock(%s)", [KEY])

        assert answer.result() == [[(1,)]]


def kill_connection() -> None:
    pid = connection.connection.info.backend_pid
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
