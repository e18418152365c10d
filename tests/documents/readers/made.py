"""Documents made by hand for the tests of their readers: as little XML as a reader needs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

from orchestrator.documents.reading import Limits, Reading, Unreadable

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
P = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
OFFICE_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
ODF = " ".join(
    f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for short, name in {
        "office": "office", "text": "text", "table": "table", "draw": "drawing", "style": "style", "svg": "svg-compatible",
    }.items()
) + ' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"'  # fmt: skip
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def nothing_within(data: bytes, name: str) -> Reading:
    """For documents in which nothing lies."""
    raise AssertionError(f"{name} was given to be read")


def refused(data: bytes, name: str) -> Reading:
    """Refuses whatever lies in a document."""
    raise Unreadable("unsupported_file", "Such files are not read. Convert it to PDF.")


def container(parts: Mapping[str, str | bytes]) -> bytes:
    """A ZIP of these parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return buffer.getvalue()


def relations(targets: Mapping[str, tuple[str, str]], *, outside: str = "") -> str:
    """The relations of a part: id to kind and target; `outside` is the id of one that leads out of the document."""
    lines = [
        f'<Relationship Id="{key}" Type="{OFFICE_RELATIONS}/{kind}" Target="{target}"'
        f"{' TargetMode=' + chr(34) + 'External' + chr(34) if key == outside else ''}/>"
        for key, (kind, target) in targets.items()
    ]
    return (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        + "".join(lines)
        + "</Relationships>"
    )


def docx(body: str, parts: Mapping[str, str] | None = None, *, head: str = "") -> bytes:
    """A Word document with this body; further parts, such as `styles`, stand under `word/` and are pointed at by their names."""
    own = dict(parts or {})
    core = own.pop("core", None)
    kinds = {name: name.rstrip("0123456789") for name in own}
    made = {
        "[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>",
        "_rels/.rels": relations({"rId1": ("officeDocument", "word/document.xml")}),
        "word/_rels/document.xml.rels": relations({name: (kind, f"{name}.xml") for name, kind in kinds.items()}),
        "word/document.xml": f"{head}<w:document {W} {R}><w:body>{body}</w:body></w:document>",
    }
    made |= {f"word/{name}.xml": content for name, content in own.items()}
    if core is not None:
        made["docProps/core.xml"] = core
    return container(made)


def pptx(
    slides: list[str], parts: Mapping[str, str] | None = None, rels: Mapping[str, tuple[str, str]] | None = None
) -> bytes:
    """A presentation of slides with these shapes; further parts by their whole names, `rels` are the relations of each slide."""
    made = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations({"rId1": ("officeDocument", "ppt/presentation.xml")}),
        "ppt/_rels/presentation.xml.rels": relations(
            {f"rId{n}": ("slide", f"slides/slide{n}.xml") for n in range(1, len(slides) + 1)}
        ),
        "ppt/presentation.xml": f"<p:presentation {P} {R}><p:sldIdLst>"
        + "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in range(len(slides), 0, -1))
        + '</p:sldIdLst><p:sldSz cx="1000" cy="500"/></p:presentation>',
    }
    for number, shapes in enumerate(slides, 1):
        made[f"ppt/slides/slide{number}.xml"] = (
            f"<p:sld {P} {A} {R}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
        )
        made[f"ppt/slides/_rels/slide{number}.xml.rels"] = relations(rels or {})
    return container(made | dict(parts or {}))


def xlsx(sheets: Mapping[str, str], *, hidden: str = "", head: str = "") -> bytes:
    """A workbook of sheets with these rows; the second style is that of a date."""
    listed = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"{" state=" + chr(34) + "hidden" + chr(34) if name == hidden else ""}/>'
        for n, name in enumerate(sheets, 1)
    )
    targets = {f"rId{n}": ("worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1)}
    made = {
        "[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>",
        "_rels/.rels": relations({"rId1": ("officeDocument", "xl/workbook.xml")}),
        "xl/_rels/workbook.xml.rels": relations(targets | {"rId99": ("styles", "styles.xml")}),
        "xl/workbook.xml": f'{head}<workbook xmlns="{SHEET}" {R}><sheets>{listed}</sheets></workbook>',
        "xl/styles.xml": f'<styleSheet xmlns="{SHEET}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',
    }
    for number, rows in enumerate(sheets.values(), 1):
        made[f"xl/worksheets/sheet{number}.xml"] = (
            f'{head}<worksheet xmlns="{SHEET}"><sheetData>{rows}</sheetData></worksheet>'
        )
    return container(made)


def opendocument(kind: str, body: str, parts: Mapping[str, str] | None = None, *, head: str = "") -> bytes:
    """A document of `text` or `spreadsheet`; `styles` in `parts` are those within the content."""
    own = dict(parts or {})
    styles = own.pop("styles", "")
    made = {
        "mimetype": f"application/vnd.oasis.opendocument.{kind}",
        "content.xml": f"{head}<office:document-content {ODF}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>",
    }
    return container(made | own)


def small(**limits: int) -> Limits:
    """Limits with some of them changed."""
    return Limits(**limits)  # type: ignore[arg-type]


XXE = '<!DOCTYPE x [<!ENTITY a SYSTEM "{target}">]>'
LAUGHS = "<!DOCTYPE x [<!ENTITY a0 'ha'>{lines}]>".format(
    lines="".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
)
