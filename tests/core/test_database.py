"""Prepared statements: arrays, lost connections and tables that change."""

import math
from datetime import UTC, datetime

import psycopg
import pytest
from django.db import DataError, OperationalError, ProgrammingError, connection, transaction

from core import database
from core.database import Bigints, Doubles, Statement
from tests.workers import database_url

ECHO = Statement("SELECT %(whole)s::bigint[], %(broken)s::float8[], %(text)s::text, %(text)s::text")
WHOLE = [0, -(2**63), 2**63 - 1]
BROKEN = [0.1, -0.0, math.inf, -math.inf, 5e-324]


@pytest.mark.django_db
def test_parameters_round_trip_and_can_be_repeated():
    row = ECHO.row(whole=Bigints(WHOLE), broken=Doubles(BROKEN), text="名 % $1")

    assert row == (WHOLE, BROKEN, "名 % $1", "名 % $1")


@pytest.mark.django_db
def test_nan_and_empty_arrays_round_trip():
    whole, broken, *_texts = ECHO.row(whole=Bigints(), broken=Doubles([math.nan]), text="")

    assert whole == []
    assert math.isnan(broken[0])


def kill_connection() -> None:
    pid = connection.connection.info.backend_pid
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_statement_is_retried_after_a_lost_connection():
    ECHO.row(whole=Bigints(), broken=Doubles(), text="")
    kill_connection()

    assert ECHO.row(whole=Bigints([1]), broken=Doubles(), text="")[0] == [1]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_lost_connection_fails_the_transaction():
    def lose_connection_in_transaction() -> None:
        with transaction.atomic():
            ECHO.row(whole=Bigints(), broken=Doubles(), text="")
            kill_connection()
            ECHO.row(whole=Bigints(), broken=Doubles(), text="")

    with pytest.raises(OperationalError):
        lose_connection_in_transaction()
    connection.close()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_statement_is_prepared_again_after_another_connection_migrates():
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("CREATE TABLE changing AS SELECT 1::integer AS number")
        try:
            statement = Statement("SELECT number FROM changing")
            assert statement.row() == (1,)
            other.execute("ALTER TABLE changing ALTER number TYPE text")

            assert statement.row() == ("1",)
        finally:
            other.execute("DROP TABLE changing")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_first_statement_of_a_transaction_is_rolled_back_with_it():
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("CREATE TABLE filling (number integer)")
        try:
            with transaction.atomic():
                Statement("INSERT INTO filling VALUES (%(number)s)").run(number=1)
                transaction.set_rollback(True)

            assert Statement("SELECT number FROM filling").rows() == []
        finally:
            other.execute("DROP TABLE filling")


@pytest.mark.django_db
def test_database_error_is_raised_as_djangos():
    with pytest.raises(DataError), transaction.atomic():
        Statement("SELECT 1 / %(number)s::integer").row(number=0)


@pytest.mark.django_db
def test_nul_in_text_is_raised_as_djangos_error():
    with pytest.raises(DataError):
        ECHO.row(whole=Bigints(), broken=Doubles(), text="\x00")


@pytest.mark.django_db
def test_records_are_keyed_by_column_name():
    statement = Statement("SELECT %(number)s::bigint AS number, NULL::text AS nothing")

    assert statement.records(number=3) == [{"number": 3, "nothing": None}]


@pytest.mark.django_db
def test_times_are_utc():
    at = datetime(2024, 1, 15, 10, 30, 0, 123456, tzinfo=UTC)

    assert Statement("SELECT %(at)s::timestamptz").row(at=at) == (at,)


@pytest.mark.django_db
def test_statement_is_prepared_again_when_its_plan_expires(monkeypatch):
    prepared_at = Statement(
        "SELECT prepare_time FROM pg_prepared_statements WHERE statement LIKE '%prepare_time%'"
    )
    [first], [again] = prepared_at.row(), prepared_at.row()
    monkeypatch.setattr(database, "PLAN_SECONDS", 0)

    [later] = prepared_at.row()

    assert first == again < later


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_rollback_keeps_prepared_statements():
    ECHO.row(whole=Bigints(), broken=Doubles(), text="")
    psycopg.Cursor(connection.connection).execute("SELECT 1")  # must not be prepared by psycopg
    with transaction.atomic():
        transaction.set_rollback(True)
        connection.connection.execute("SELECT 1")

    with transaction.atomic():
        assert ECHO.row(whole=Bigints([1]), broken=Doubles(), text="")[0] == [1]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_deallocated_statement_is_prepared_again():
    statement = Statement("SELECT 1")
    statement.row()
    with connection.cursor() as cursor:
        cursor.execute("DISCARD PLANS; DEALLOCATE ALL")

    assert statement.row() == (1,)


@pytest.mark.django_db
def test_deallocated_statement_fails_only_one_transaction():
    statement = Statement("SELECT 1")
    statement.row()
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")

    with pytest.raises(ProgrammingError), transaction.atomic():
        statement.row()

    assert statement.row() == (1,)
