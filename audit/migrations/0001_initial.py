"""The audit's table, what keeps its entries as they are, and the functions that triggers call.

The triggers of other tables are made after each ``migrate``: audit/triggers.py.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

FUNCTIONS = r"""
CREATE OR REPLACE FUNCTION audit_caller() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    -- Differs for each statement of a client.
    statement text := statement_timestamp()::text;
    found text;
BEGIN
    -- Once for a statement: current_query() copies all of it, and a bulk insert has megabytes.
    IF current_setting('trainhub.statement', true) IS DISTINCT FROM statement THEN
        found := substring(
            left(current_query(), 4000) FROM '^\s*/\*trainhub:([A-Za-z0-9+/=]+)\*/'
        );
        PERFORM set_config('trainhub.caller', coalesce(found, ''), true);
        PERFORM set_config('trainhub.statement', statement, true);
    END IF;
    RETURN convert_from(decode(
        nullif(current_setting('trainhub.caller', true), ''), 'base64'
    ), 'UTF8')::jsonb;
END
$$;

-- A long text is cut; what tells it from another one of the same beginning follows.
CREATE OR REPLACE FUNCTION audit_cut(value jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN length(value::text) <= 2000 THEN value
        ELSE to_jsonb(left(value::text, 2000) || '… #' || left(md5(value::text), 8))
    END
$$;

CREATE OR REPLACE FUNCTION audit_short(content jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN jsonb_typeof(content) <> 'object' OR content IS NULL THEN audit_cut(content)
        WHEN length(content::text) <= 2000 THEN content
        ELSE (SELECT jsonb_object_agg(key, audit_cut(value)) FROM jsonb_each(content))
    END
$$;

CREATE OR REPLACE FUNCTION audit_hidden(earlier jsonb, later jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN later IS NULL OR later IN ('null', '""') THEN later
        WHEN earlier IS NOT DISTINCT FROM later THEN '"…"'::jsonb
        ELSE '"… (new)"'::jsonb
    END
$$;

CREATE OR REPLACE FUNCTION audit_masked(earlier jsonb, later jsonb, keys text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN jsonb_typeof(later) <> 'object' OR later IS NULL THEN later
        ELSE coalesce(
            (
                SELECT jsonb_object_agg(
                    key,
                    CASE
                        WHEN cardinality(keys) = 0 OR key = ANY (keys)
                        THEN audit_hidden(earlier -> key, value)
                        ELSE value
                    END
                )
                FROM jsonb_each(later)
            ),
            '{}'
        )
    END
$$;

-- The keys of ``one`` whose values differ in ``other``; of objects, again only those keys.
CREATE OR REPLACE FUNCTION audit_differing(one jsonb, other jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        jsonb_object_agg(
            it.key,
            CASE
                WHEN jsonb_typeof(it.value) = 'object'
                    AND jsonb_typeof(other -> it.key) = 'object'
                THEN (
                    SELECT coalesce(jsonb_object_agg(part.key, part.value), '{}')
                    FROM jsonb_each(it.value) AS part
                    WHERE part.value IS DISTINCT FROM other -> it.key -> part.key
                )
                ELSE it.value
            END
        ),
        '{}'
    )
    FROM jsonb_each(one) AS it
    WHERE it.value IS DISTINCT FROM other -> it.key
$$;

CREATE OR REPLACE FUNCTION audit_verb(actions jsonb, after jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        (
            SELECT CASE
                WHEN after -> (pair -> 0 #>> '{}') IN ('null', 'false', '""', '[]')
                    AND jsonb_array_length(pair -> 1) > 1
                THEN pair -> 1 ->> 1
                ELSE pair -> 1 ->> 0
            END
            FROM jsonb_array_elements(actions) WITH ORDINALITY AS it (pair, number)
            WHERE after ? (pair ->> 0)
            ORDER BY number
            LIMIT 1
        ),
        'changed'
    )
$$;

CREATE OR REPLACE FUNCTION audit_note(
    operation text, kind text, subject text, name text, project text, team text,
    before jsonb, after jsonb, actions jsonb, only_by_users boolean
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    caller jsonb := audit_caller();
    verb text := CASE operation WHEN 'INSERT' THEN 'created' ELSE 'deleted' END;
    earlier jsonb := before;
    later jsonb := after;
BEGIN
    IF only_by_users AND (caller ->> 'user_id') IS NULL THEN
        RETURN;
    END IF;
    IF operation = 'UPDATE' THEN
        earlier := audit_differing(before, after);
        later := audit_differing(after, before);
        IF earlier = '{}' AND later = '{}' THEN
            RETURN;
        END IF;
        verb := audit_verb(actions, later);
    END IF;
    INSERT INTO audit_entry (
        at, action, kind, subject_id, name, project_id, team_id, actor_id, actor, token_id,
        address, via, request_id, before, after
    ) VALUES (
        clock_timestamp(), kind || '.' || verb, kind, coalesce(subject, ''), coalesce(name, ''),
        project, team, (caller ->> 'user_id')::bigint, coalesce(caller ->> 'user', ''),
        coalesce(caller ->> 'token_id', ''), (caller ->> 'address')::inet,
        coalesce(caller ->> 'via', ''), coalesce(caller ->> 'request_id', ''), earlier, later
    );
END
$$;

CREATE OR REPLACE FUNCTION audit_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- See audit/retention.py. Not even it deletes what is of this week.
    IF TG_OP = 'DELETE' AND current_setting('trainhub.audit', true) = 'retention' THEN
        IF OLD.at < now() - interval '7 days' THEN
            RETURN OLD;
        END IF;
    ELSIF TG_OP = 'TRUNCATE' AND current_setting('trainhub.audit', true) = 'emptied' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'Entries of the audit are not changed or deleted.'
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_keep BEFORE UPDATE OR DELETE ON audit_entry
FOR EACH ROW EXECUTE FUNCTION audit_keep();
CREATE TRIGGER audit_keep_all BEFORE TRUNCATE ON audit_entry
FOR EACH STATEMENT EXECUTE FUNCTION audit_keep();
"""

REVERSE = """
DROP TRIGGER audit_keep ON audit_entry;
DROP TRIGGER audit_keep_all ON audit_entry;
"""  # triggers of other tables call the rest


class Migration(migrations.Migration):
    initial = True

    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="when"
                    ),
                ),
                ("action", models.CharField(max_length=64, verbose_name="action")),
                ("kind", models.CharField(max_length=32, verbose_name="kind")),
                ("subject_id", models.TextField(db_collation="C", verbose_name="subject")),
                ("name", models.TextField(blank=True, verbose_name="name")),
                (
                    "project_id",
                    models.CharField(
                        db_collation="C", max_length=32, null=True, verbose_name="project"
                    ),
                ),
                (
                    "team_id",
                    models.CharField(
                        db_collation="C", max_length=32, null=True, verbose_name="team"
                    ),
                ),
                ("actor_id", models.BigIntegerField(null=True)),
                ("actor", models.CharField(blank=True, max_length=150, verbose_name="by")),
                (
                    "token_id",
                    models.CharField(
                        blank=True, db_collation="C", max_length=32, verbose_name="token"
                    ),
                ),
                ("address", models.GenericIPAddressField(null=True, verbose_name="address")),
                ("via", models.CharField(blank=True, max_length=64, verbose_name="via")),
                ("request_id", models.CharField(blank=True, max_length=64, verbose_name="request")),
                ("before", models.JSONField(null=True, verbose_name="before")),
                ("after", models.JSONField(null=True, verbose_name="after")),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit entries",
                "ordering": ("-at", "-id"),
                "indexes": [
                    models.Index(fields=["-at", "-id"], name="audit_newest_first"),
                    models.Index(
                        condition=models.Q(("project_id", None), _negated=True),
                        fields=["project_id", "-at", "-id"],
                        name="audit_by_project",
                    ),
                    models.Index(
                        condition=models.Q(("team_id", None), _negated=True),
                        fields=["team_id", "-at", "-id"],
                        name="audit_by_team",
                    ),
                    models.Index(fields=["actor", "-at", "-id"], name="audit_by_actor"),
                    models.Index(fields=["subject_id", "-at", "-id"], name="audit_by_subject"),
                    models.Index(fields=["action", "-at", "-id"], name="audit_by_action"),
                    models.Index(fields=["kind", "-at", "-id"], name="audit_by_kind"),
                    models.Index(
                        condition=models.Q(("token_id", ""), _negated=True),
                        fields=["token_id", "-at", "-id"],
                        name="audit_by_token",
                    ),
                ],
            },
        ),
        migrations.RunSQL(FUNCTIONS, REVERSE),
    ]
