"""Result lines as CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.delivery.table import Table, safe, write_csv
from orchestrator.errors import InvalidRequest
from tests.delivery.lines import SCHEMA, failed, line
from tests.delivery.memory import grown
from tests.delivery.test_answers import ANY, ANY_LINE

csv.field_size_limit(10**9)


def written(lines: Any, schema: Any = SCHEMA, **options: Any) -> str:
    file = io.StringIO(newline="")
    write_csv(lines, schema, file, **options)
    return file.getvalue()


def rows(lines: Any, schema: Any = SCHEMA) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written(lines, schema), newline="")))


def test_the_columns_are_the_document_the_fields_their_evidence_and_what_it_took() -> None:
    assert Table.of(SCHEMA).names == (
        "name", "hash", "number", "date", "total", "currency", "paid", "vendor.name", "vendor.city", "tags", "lines",
        *(f"{field}.{what}" for field in ("number", "date", "total", "currency", "paid", "vendor.name", "vendor.city", "tags", "lines")
          for what in ("confidence", "source")),
        "review", "tier", "cost_usd", "reused", "error_code", "error_message",
    )  # fmt: skip


def test_an_answer_becomes_a_row() -> None:
    answer = {
        "number": "R-1", "date": "2026-03-14", "total": -5.20, "paid": True, "vendor": {"name": "Müller", "city": None}, "tags": ["a", "b"],
        "lines": [{"text": "x", "amount": 1}],
    }  # fmt: skip
    fields = {
        "/total": {
            "confidence": 0.93,
            "page": 2,
            "box": [0.1, 0.2, 0.4, 0.22],
            "found": True,
            "review": "low_confidence",
        },
        "/vendor/name": {"confidence": None, "page": None, "box": None, "found": False, "review": "not_in_source"},
        "/lines/0/text": {"confidence": 0.9, "page": 1, "box": None, "found": True},
        "/lines/0/amount": {"confidence": 0.4, "page": 2, "box": None, "found": True},
    }
    (row,) = rows([line("inv/1.pdf", answer, fields=fields, reused=True)])
    assert (row["name"], row["number"], row["total"], row["paid"], row["reused"]) == (
        "inv/1.pdf",
        "R-1",
        "-5.2",
        "true",
        "true",
    )
    assert (row["vendor.name"], row["vendor.city"], row["tags"], row["lines"]) == (
        "Müller",
        "",
        "a; b",
        '[{"text":"x","amount":1}]',
    )
    assert (row["total.confidence"], row["total.source"]) == ("0.93", "p. 2 (0.10,0.20,0.40,0.22)")
    assert (row["vendor.name.confidence"], row["vendor.name.source"]) == ("", "not found")
    assert (row["lines.confidence"], row["lines.source"]) == ("0.4", "p. 1; p. 2")
    assert row["review"] == "total: low_confidence; vendor.name: not_in_source"
    assert (row["tier"], row["cost_usd"], row["error_code"]) == ("llm", "0.0125", "")


def test_numbers_stand_in_the_cell_as_the_model_wrote_them() -> None:
    (row,) = rows([line(answer='{"number": 12345678901234567890123, "total": 1250.00}')])
    assert (row["number"], row["total"]) == ("12345678901234567890123", "1250.00")


def test_a_failure_is_a_row_with_its_code_and_what_was_wrong() -> None:
    wrong = [{"pointer": "/date", "message": "no date"}]
    (row,) = rows([failed("x.pdf", "wrong_form", "Not of that form.", violations=wrong)])
    assert (row["name"], row["error_code"], row["error_message"]) == (
        "x.pdf",
        "wrong_form",
        "Not of that form. (/date: no date)",
    )
    assert row["total"] == ""


def test_a_task_without_a_schema_has_its_text_in_one_column() -> None:
    (row,) = rows([line(answer="# Title\n\n- one, two")], None)
    assert row["answer"] == "# Title\n\n- one, two"


def test_a_list_at_the_top_is_one_column_of_json() -> None:
    (row,) = rows([line(answer=[{"a": 1}])], {"type": "array"})
    assert row["answer"] == '[{"a":1}]'


def test_a_field_keeps_its_name_where_ours_has_the_same() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {}, "tier": {}, "a.b": {}, "a": {"type": "object", "properties": {"b": {}}}},
    }
    names = Table.of(schema).names
    assert names[:6] == ("rightsize.name", "hash", "name", "tier", "a.b", "a.b_2")
    assert "rightsize.tier" in names
    assert len(set(names)) == len(names)
    (row,) = rows([line("d.pdf", {"name": "Ann", "a": {"b": 2}, "a.b": 1})], schema)
    assert (row["rightsize.name"], row["name"], row["a.b"], row["a.b_2"]) == ("d.pdf", "Ann", "1", "2")


def test_too_many_fields_for_a_table_are_refused_with_a_way_out() -> None:
    with pytest.raises(InvalidRequest, match="a file for each document instead"):
        Table.of({"properties": {f"f{number}": {} for number in range(1_001)}})


def test_references_that_lead_in_a_circle_end() -> None:
    loop = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"$ref": "#/$defs/A"}}}
    assert Table.of(loop).names[2] == "a"
    assert Table.of({"$ref": "#"}).names[2] == "answer"


@pytest.mark.parametrize("text", ["=1+1", "+49 30 1", "-x", "@SUM(A1)", "\tx", "\rx", "\n=x", "  =1+1", "＝1+1", '=HYPERLINK("http://x")', "--5", "-5+1", "-1e5+cmd|' /C calc'!A0"])  # fmt: skip
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert safe(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["-5.20", "-5,20", "-1,234.50", "-7", "-1e5", "", "Ulm", "5 = 5", "'=1+1", "R-17", "3-4"]
)
def test_numbers_and_plain_texts_stay_as_they_are(text: str) -> None:
    assert safe(text) == text


def test_formulas_are_found_wherever_they_come_from() -> None:
    schema = {
        "type": "object",
        "properties": {"=cmd": {"type": "string"}, "many": {"type": "array", "items": {"type": "string"}}},
    }
    told = line("=name.pdf", {"=cmd": "@x", "many": ["=a", "b"]}, tier="+t")
    head, row = csv.reader(
        io.StringIO(
            written(
                [
                    told,
                ],
                schema,
            ),
            newline="",
        )
    )
    assert all(cell[:1] not in set("=+-@") for cell in (*head, *row))
    (broken,) = rows([failed("-name.pdf", "=code", "=message")], schema)
    assert (broken["name"], broken["error_code"], broken["error_message"]) == ("'-name.pdf", "'=code", "'=message")


def test_the_file_is_rfc_4180_and_excel_knows_its_letters_by_the_mark() -> None:
    text = written([line(answer='{"number": "a\\"b,c\\nd"}')], bom=True)
    assert text.startswith("\ufeffname,hash,")
    assert '"a""b,c\nd"' in text
    assert text.endswith("\r\n")
    assert written([], delimiter=";").startswith("name;hash;")


@given(
    st.lists(ANY_LINE, max_size=4),
    st.none()
    | st.just(SCHEMA)
    | st.dictionaries(st.sampled_from(["properties", "type", "anyOf", "$ref", "$defs"]), ANY),
)
def test_no_line_and_no_schema_breaks_the_table(lines: list[dict[str, Any]], schema: Any) -> None:
    text = written(lines, schema)
    text.encode()
    head, *others = csv.reader(io.StringIO(text, newline=""))
    assert len(others) == len(lines)
    assert all(len(row) == len(head) == len(set(head)) for row in others)


@given(st.text(), st.text())
def test_what_was_written_is_read_back_but_for_the_apostrophe(name: str, text: str) -> None:
    (row,) = rows([line(answer=json.dumps({"number": text, "date": name}))])
    clean = [one.encode("utf-8", "replace").decode().replace("\0", "") for one in (text, name)]
    assert [row["number"], row["date"]] == [safe(one) for one in clean]


@pytest.mark.slow
def test_a_hundred_thousand_lines_take_no_more_memory_than_some() -> None:
    grown_kib = grown(
        """
        from orchestrator.delivery.table import write_csv
        count = lambda many: write_csv(lines(many), SCHEMA, open("/dev/null", "w", newline=""))
        """
    )
    assert grown_kib < 8_000
