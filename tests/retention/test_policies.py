# SPDX-License-Identifier: Apache-2.0
"""The registry knows every column there is, and says all that is to be said of it."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from fleet.database import Base, UTCDateTime, db
from fleet.staff import idempotency
from fleet.upkeep import GROUND_JOBS
from fleet.web import throttle
from fleet.web.access_rooms import GREATEST_AGE
from fleet.web.languages import Language
from retention import ages, policies
from retention.ages import Span
from retention.policies import Category, Erasure, Kind, RegistryFault, load, read
from voucher.service import refusals
from wsgi import FEATURES

CATEGORIES = list(load())

# On PostgreSQL each hour of access records has a table of its own, of the same columns.
ROOM = re.compile(r"access_record_\d{10}(_rest)?")


def files() -> dict[str, str]:
    return {each.name: each.read_text("utf-8") for each in policies.FOLDER.iterdir()}


def stored() -> Iterator[tuple[str, str]]:
    """Yield each column that the database really has: table and name."""
    inspector = sa.inspect(db.engine)
    for table in inspector.get_table_names():
        if not ROOM.fullmatch(table):
            for column in inspector.get_columns(table):
                yield table, column["name"]


# --- nothing is left out, and nothing is there twice --------------------------------


def test_every_column_is_in_exactly_one_category(app: Flask) -> None:  # noqa: ARG001
    named = Counter(column for each in load() for column in each.columns)
    there = {f"{table}.{column}" for table, column in stored()}

    assert sorted(there - named.keys()) == []
    assert sorted(named.keys() - there) == []
    assert [column for column, times in named.items() if times > 1] == []


def test_what_the_models_say_is_what_the_database_has(app: Flask) -> None:  # noqa: ARG001
    models = {
        (table.name, column.name)
        for table in Base.metadata.tables.values()
        for column in table.columns
    }

    assert set(stored()) == models | {("alembic_version", "version_num")}


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda each: each.name)
def test_a_category_points_at_what_is_there(category: Category) -> None:
    tables = Base.metadata.tables
    for column in (*category.start_columns, *category.use_columns, *category.subject):
        table, _, name = column.partition(".")
        assert name in tables[table].c, column
    for column in (*category.start_columns, *category.subject):
        assert column.partition(".")[0] in category.tables, column
    for column in category.use_columns:
        assert load().subject_of(column.partition(".")[0]), column
    for column in category.subject:
        table, _, name = column.partition(".")
        found = tables[table].c[name]
        refers = {key.column.table.name for key in found.foreign_keys}
        # By row id, or, in the audit log, by the serial number in words.
        by_name = isinstance(found.type, sa.String)
        assert refers == {"device"} or column == "device.id" or by_name


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda each: each.name)
def test_an_age_that_is_counted_has_a_column_to_count_from(category: Category) -> None:
    counted = category.age.cutoff(datetime.max.replace(tzinfo=None)) is not None  # noqa: DTZ901
    if counted and category.done_by:
        assert category.columns
        for table in category.tables:
            assert category.start_of(table) or category.use_columns, table
    for column in category.start_columns:
        table, _, name = column.partition(".")
        kind = Base.metadata.tables[table].c[name].type
        assert isinstance(kind, UTCDateTime | sa.Date)


def test_columns_of_one_row_go_at_one_time() -> None:
    for table in Base.metadata.tables:
        rules = {
            (each.age, each.start_of(table))
            for each in load().of_table(table)
            if each.start_of(table)
        }
        assert len(rules) <= 1, table


def test_each_job_that_is_named_is_there() -> None:
    jobs = {each.name for each in GROUND_JOBS}
    jobs |= {job.name for each in FEATURES for job in each.jobs}
    named = {name for each in load() for name in each.done_by}

    assert named <= jobs


# --- what is handed out, and what is not --------------------------------------------


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda each: each.name)
def test_no_secret_is_handed_out_and_no_personal_data_is_withheld_unseen(
    category: Category,
) -> None:
    if category.kind is not Kind.PERSONAL:
        assert not category.exported
    if category.exported and not category.coming:
        assert set(category.tables) == {each.split(".")[0] for each in category.subject}
        assert category.format
    if category.subject and category.kind is Kind.PERSONAL and not category.exported:
        assert category.name == "search-text"  # a copy of what is handed out


def test_digests_and_keys_are_secret() -> None:
    proofs = re.compile("digest|secret|token_id|fingerprint|continuation|key_version")
    for column, category in load().by_column.items():
        if proofs.search(column) and column != "device_certificate.fingerprint":
            assert category.kind is Kind.SECRET or column in {
                "device_certificate.key_digest",  # of a public key
                "staff_token.digest",  # with its owner, who is staff
                "staff_token.key_version",
            }, column


def test_access_records_are_nobodys_we_could_name() -> None:
    records = load()["access-records"]

    assert records.subject == ()
    assert set(records.columns_of("access_record")) == {
        "id",
        "service",
        "accessed_at",
        "address",
        "device_type",
        "software_version",
    }


def test_an_address_is_stored_nowhere_else() -> None:
    named = [each for each in load().by_column if re.search(r"address|_ip|\.ip", each)]

    assert named == ["access_record.address", "device.mac_address"]


# --- each figure of the documents ---------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words", "rule"),
    [
        ("access-records", "deleted after 14 days", {"hours": 336}),
        ("access-counts", "kept indefinitely", "for-ever"),
        ("redemptions", "during the support period", {"years_after_support": 3}),
        ("pbx", "during the support period", {"years_after_support": 3}),
        (
            "softphone-connections",
            "12 months after the last use",
            {"months_after_use": 12},
        ),
        ("softphone-password", "except the password", "never"),
        ("calls-and-provisioning", "immediately after forwarding", "at-once"),
        ("debug-names", "up to 4 weeks", {"hours": 4 * 7 * 24}),
        ("push-addresses", "old address(es) deleted", "on-change"),
        ("push-records", "up to 7 days", {"hours": 7 * 24}),
        ("provisioning-log", "set to 1 day", {"hours": 24}),
        ("google-proxy-log", "log rotation", {"rotated_hours": 336}),
        ("proxy-log", "log rotation", {"rotated_hours": 336}),
        ("control-center-access", "can be deleted at any time", "until-withdrawn"),
        ("newsletter", "withdraw the consent", "until-withdrawn"),
        ("form-cookie", "when you end your browser session", "session"),
        ("masked-addresses", "83.1.12.x", "never"),
        ("masked-addresses", "217.XXX.XXX.XXX", "never"),
    ],
)
def test_a_figure_of_the_documents_has_its_rule(
    name: str, words: str, rule: object
) -> None:
    category = load()[name]

    assert any(words in each.words for each in category.sources)
    assert category.age == ages.rule_of(rule)


FIGURE = re.compile(r"\b\d+ (?:day|week|month|hour|year)s?\b")


def test_no_quote_holds_another_figure() -> None:
    figures = {
        figure
        for each in load()
        for quote in each.sources
        for figure in FIGURE.findall(quote.words)
    }

    assert figures == {
        "14 days",
        "12 months",
        "4 weeks",
        "7 days",
        "1 day",
        "24 hours",  # how often a PBX asks
    }


@pytest.mark.parametrize("name", [each.name for each in load() if not each.sources])
def test_where_the_documents_are_silent_it_says_so(name: str) -> None:
    said = load()[name].decision

    assert re.search("Quelle", said[Language.GERMAN])
    assert re.search("source", said[Language.ENGLISH])
    assert re.search("source", said[Language.FRENCH])


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("access-records", GREATEST_AGE),
        ("refused-redemptions", refusals.KEPT),
        # A little more: the time until the job looks again.
        ("repeated-answers", idempotency.KEPT_FOR + timedelta(hours=1)),
    ],
)
def test_the_program_keeps_what_the_registry_says(name: str, kept: timedelta) -> None:
    rule = load()[name].age

    assert isinstance(rule, Span)
    assert timedelta(hours=rule.hours) == kept


def test_counts_of_guesses_go_within_their_hour() -> None:
    [job] = [each for each in GROUND_JOBS if each.name == "forget-guesses"]
    rule = load()["wrong-guesses"].age

    assert isinstance(rule, Span)
    assert throttle.WINDOW * 2 + job.every <= timedelta(hours=rule.hours)


# --- what is said to people ---------------------------------------------------------


def all_texts() -> Iterator[tuple[str, policies.Texts]]:
    registry = load()
    for group, terms in registry.words.items():
        for key, texts in terms.items():
            yield f"{group}.{key}", texts
    for each in registry:
        for name in ("title", "contents", "purpose", "decision"):
            texts: policies.Texts = getattr(each, name)
            if texts:
                yield f"{each.name}.{name}", texts


@pytest.mark.parametrize(
    ("where", "texts"), [pytest.param(*each, id=each[0]) for each in all_texts()]
)
def test_every_text_is_there_in_every_language(
    where: str, texts: policies.Texts
) -> None:
    assert list(texts) == list(Language)
    if where not in {"coming.title", "newsletter.title"}:
        same = len(set(texts.values())) < len(Language)
        # A name or two words may be the same; a sentence is not.
        assert not same or len(texts[Language.ENGLISH].split()) <= 3
    for language, text in texts.items():
        assert "  " not in text
        assert not re.search(r"\s[.,]", text)
        assert "'" not in text
        if language is Language.FRENCH:
            assert not re.search(r"[^\s ][:;?!](\s|$)", text), text
        else:
            assert not re.search(r"\s[:;?!]", text)


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda each: each.name)
def test_how_long_can_be_said_in_every_language(category: Category) -> None:
    for language in Language:
        said = load().duration(category, language)
        assert "{" not in said
        numbers = category.age.numbers
        for figure in numbers.values():
            assert str(figure) in said or str(numbers.get("days")) in said


def test_what_is_kept_for_ever_is_anonymous() -> None:
    for each in load():
        if each.age == ages.ForEver():
            assert each.kind in {Kind.ANONYMOUS, Kind.TECHNICAL}
            assert [who.key for who in each.whose] == ["nobody"]


def test_what_stays_at_an_erasure_says_why() -> None:
    for each in load():
        deleted = each.erasure_why.key in {"deleted", "emptied"}
        assert deleted == (each.erasure is not Erasure.KEEP), each.name


# --- a registry with a fault does not load ------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hours = 336", "days = 14", "no age"),
        ('part = "records"', 'part = "attic"', "attic"),
        ('kind = "personal"', 'kind = "private"', "private"),
        ('erasure = "keep"', 'erasure = "hide"', "hide"),
        ('title.fr = "Accès à nos serveurs"\n', "", "German, English and French"),
        ('title.fr = "Accès à nos serveurs"', 'title.fr = ""', "text that is none"),
        ('action = "count-and-delete"', 'acton = "delete"', "acton"),
        ('document = "comtrexx"', 'document = "hearsay"', "hearsay"),
        ("bytes_each = 110\n", "", "bytes_each"),
        ("[catalogue]", "[pbx]", "pbx is there twice"),
    ],
)
def test_a_registry_with_a_fault_does_not_load(old: str, new: str, said: str) -> None:
    faulty = files()
    assert old in faulty["records.toml"]
    faulty["records.toml"] = faulty["records.toml"].replace(old, new, 1)

    with pytest.raises(RegistryFault, match=said):
        read(faulty)


def test_a_category_without_source_or_decision_does_not_load() -> None:
    said: dict[str, Any] = tomllib.loads(files()["records.toml"])
    assert "sources" not in said["catalogue"]
    faulty = files()
    faulty["records.toml"] = re.sub(
        r"(?s)(\[catalogue\].*?)decision\.de = .*?\ndecision\.en = .*?\n"
        r"decision\.fr = .*?\n",
        r"\1",
        faulty["records.toml"],
        count=1,
    )

    with pytest.raises(RegistryFault, match="neither a source nor a decision"):
        read(faulty)


def test_the_registry_is_read_as_it_stands() -> None:
    assert read(files()) == load()
