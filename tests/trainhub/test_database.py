"""Prepared statements: arrays, dead connections, tables that change under them."""

import math
from datetime import UTC, datetime

import psycopg
import pytest
from django.db import DataError, OperationalError, ProgrammingError, connection, transaction

from tests.workers import database_url
from trainhub import database
from trainhub.database import Bigints, Doubles, Statement

ECHO = Statement("SELECT %(whole)s::bigint[], %(broken)s::float8[], %(text)s::text, %(text)s::text")
WHOLE = [0, -(2**63), 2**63 - 1]
BROKEN = [0.1, -0.0, math.inf, -math.inf, 5e-324]


@pytest.mark.django_db
def test_parameters_arrive_as_they_are_and_may_come_twice():
    row = ECHO.row(whole=Bigints(WHOLE), broken=Doubles(BROKEN), text="名 % $1")

    assert row == (WHOLE, BROKEN, "名 % $1", "名 % $1")


@pytest.mark.django_db
def test_nan_and_empty_arrays_arrive():
    whole, broken, *_texts = ECHO.row(whole=Bigints(), broken=Doubles([math.nan]), text="")

    assert whole == []
    assert math.isnan(broken[0])


def kill_connection() -> None:
    pid = connection.connection.info.backend_pid
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_statement_is_run_again_on_a_connection_that_has_died():
    ECHO.row(whole=Bigints(), broken=Doubles(), text="")
    kill_connection()

    assert ECHO.row(whole=Bigints([1]), broken=Doubles(), text="")[0] == [1]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_transaction_does_not_outlive_its_connection():
    def echo_across_a_death() -> None:
        with transaction.atomic():
            ECHO.row(whole=Bigints(), broken=Doubles(), text="")
            kill_connection()
            ECHO.row(whole=Bigints(), broken=Doubles(), text="")

    with pytest.raises(OperationalError):
        echo_across_a_death()
    connection.close()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_statement_prepared_before_a_migration_elsewhere_is_prepared_anew():
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
def test_statement_that_is_a_transactions_first_is_taken_back_with_it():
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
def test_what_the_database_refuses_is_djangos_error():
    with pytest.raises(DataError), transaction.atomic():
        Statement("SELECT 1 / %(number)s::integer").row(number=0)


@pytest.mark.django_db
def test_what_the_database_could_not_keep_is_djangos_error_too():
    with pytest.raises(DataError):
        ECHO.row(whole=Bigints(), broken=Doubles(), text="\x00")


@pytest.mark.django_db
def test_rows_by_their_columns_names():
    statement = Statement("SELECT %(number)s::bigint AS number, NULL::text AS nothing")

    assert statement.records(number=3) == [{"number": 3, "nothing": None}]


@pytest.mark.django_db
def test_times_are_utc():
    at = datetime(2024, 1, 15, 10, 30, 0, 123456, tzinfo=UTC)

    assert Statement("SELECT %(at)s::timestamptz").row(at=at) == (at,)


@pytest.mark.django_db
def test_statement_is_planned_anew_when_its_plan_is_old(monkeypatch):
    prepared_at = Statement(
        "SELECT prepare_time FROM pg_prepared_statements WHERE statement LIKE '%prepare_time%'"
    )
    [first], [again] = prepared_at.row(), prepared_at.row()
    monkeypatch.setattr(database, "PLAN_SECONDS", 0)

    [later] = prepared_at.row()

    assert first == again < later


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_rollback_leaves_what_is_prepared():
    ECHO.row(whole=Bigints(), broken=Doubles(), text="")
    psycopg.Cursor(connection.connection).execute("SELECT 1")  # must not be prepared by psycopg
    with transaction.atomic():
        transaction.set_rollback(True)
        connection.connection.execute("SELECT 1")

    with transaction.atomic():
        assert ECHO.row(whole=Bigints([1]), broken=Doubles(), text="")[0] == [1]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_statement_that_was_thrown_away_is_prepared_anew():
    statement = Statement("SELECT 1")
    statement.row()
    with connection.cursor() as cursor:
        cursor.execute("DISCARD PLANS; DEALLOCATE ALL")

    assert statement.row() == (1,)


@pytest.mark.django_db
def test_statement_that_was_thrown_away_fails_one_transaction_alone():
    statement = Statement("SELECT 1")
    statement.row()
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")

    with pytest.raises(ProgrammingError), transaction.atomic():
        statement.row()

    assert statement.row() == (1,)
