"""The sections of the report, in their order. Each is left out where the lines tell nothing of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from orchestrator.delivery.plain import count, counted, duration, money, share
from orchestrator.delivery.report.bars import parts_bar, share_bar, swatch
from orchestrator.delivery.report.markup import NOTHING, Html, Part, figures, foreign, joined, section, tag, with_code
from orchestrator.delivery.report.scatter import ORDER, scatter
from orchestrator.delivery.summary import POINTS, UNTIERED, Field, Summary, Tier

MOST_CAUSES: Final = 15
MOST_FIELDS: Final = 60
FEWEST_POINTS: Final = 3
"""Of a plot."""
DASH: Final = "–"
SOURCES: Final = {"text": "text layer of the file", "ocr": "read from a scan (OCR)", "none": "looked at by the model"}
REASONS: Final = {"not_in_source": "not found", "low_confidence": "unsure", "conflict": "contradictory"}


def all_of(summary: Summary) -> Iterator[Html]:
    """Every section that there is something to say in."""
    yield lead(summary)
    yield simulated(summary)
    yield glance(summary)
    if not summary.documents:
        return
    yield tiers(summary)
    yield reading(summary)
    yield failures(summary)
    yield fields(summary)
    yield cost_by_length(summary)
    yield dearest(summary)
    yield notes(summary)


def lead(summary: Summary) -> Html:
    """The batch in a few sentences."""
    if not summary.documents:
        return tag("p", "The batch has no result lines: there is nothing to report.", class_="lead")
    cost = f"{'They' if summary.documents > 1 else 'It'} cost {money(summary.cost_usd)}"
    if summary.cost_usd and summary.documents > 1:
        cost += f", {money(summary.cost_usd / summary.documents)} a document"
    said = [_answered(summary), f"{cost}."]
    if summary.reused:
        saved = summary.saved_usd
        what = f", which saved about {money(saved)}" if saved else ""
        said.append(f"{counted(summary.reused, 'answer was', 'answers were')} already known and reused{what}.")
    if summary.to_review:
        said.append(f"A person should look at {counted(summary.to_review, 'document')}.")
    return tag("p", " ".join(said), class_="lead")


def _answered(summary: Summary) -> str:
    if summary.documents == 1:
        return "The document failed." if summary.failed else "The document was answered."
    if not summary.failed:
        return f"All {summary.documents:,} documents were answered."
    if not summary.done:
        return f"All {summary.documents:,} documents failed."
    failed = f"{summary.failed:,} failed ({share(summary.failed, summary.documents)})"
    return f"Of {summary.documents:,} documents, {summary.done:,} were answered and {failed}."


def simulated(summary: Summary) -> Html:
    """That models were simulated, where they were."""
    if not summary.simulated:
        return NOTHING
    names = ", ".join(sorted(name for name, model in summary.models.items() if model.simulated)[:6])
    who = f" ({names})" if names else ""
    told = (
        f" {counted(summary.simulated, 'line')} of {count(summary.documents)} come from simulated models{who}. Their answers are made up, and "
        "their costs and times are those of a price list, not of work that was done."
    )
    return tag("aside", tag("strong", "Simulated."), told, class_="warning", aria_label="Simulated models")


def glance(summary: Summary) -> Html:
    """The figures that come first."""
    shown = {
        "documents": count(summary.documents), "pages": count(summary.pages) if summary.with_pages else DASH, "answered": count(summary.done),
        "failed": count(summary.failed), "reused": count(summary.reused), "cost": money(summary.cost_usd),
    }  # fmt: skip
    return tag("dl", *(tag("div", tag("dd", value), tag("dt", name)) for name, value in shown.items()), class_="glance")


def tiers(summary: Summary) -> Html:
    """What each tier did, cost and took."""
    names = sorted(
        summary.tiers, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name == UNTIERED, name)
    )
    rows = [_tier(name, summary.tiers[name]) for name in names]
    total: list[Part] = [
        "All", count(summary.documents), count(summary.failed), count(summary.reused), _median(summary.times.median_s), money(summary.cost_usd),
        money(summary.cost_usd / summary.documents),
    ]  # fmt: skip
    columns = ("Tier", "Documents", "Failed", "Reused", "Median time", "Cost", "Cost a document")
    table = figures(rows, columns, "Documents, time and cost by tier", total=total if len(rows) > 1 else ())
    return section("tiers", "Tiers and cost", table, _took(summary), _saved(summary))


def _tier(name: str, tier: Tier) -> list[Part]:
    each = money(tier.cost_usd / tier.documents)
    if name == UNTIERED:
        name = "no tier told" if tier.fresh or tier.reused else "not sent to a model"
    return [
        foreign(name), count(tier.documents), count(tier.failed), count(tier.reused), _median(tier.times.median_s), money(tier.cost_usd), each,
    ]  # fmt: skip


def _median(seconds: float | None) -> str:
    return DASH if seconds is None else duration(seconds)


def _took(summary: Summary) -> Html:
    if not summary.times.count:
        return NOTHING
    slow = summary.times.percentile(0.95)
    pages = (
        f" A thousand pages cost {money(summary.cost_usd / summary.pages * 1_000)}."
        if summary.pages and summary.cost_usd
        else ""
    )
    return tag(
        "p",
        f"The models worked for {duration(summary.times.sum_s)} in all, requests side by side counted each for itself; "
        f"95 of 100 documents took at most {_median(slow)}.{pages}",
    )


def _saved(summary: Summary) -> Html:
    saved, saved_s = summary.saved_usd, summary.saved_s
    if saved is None:
        return NOTHING
    bare = any(tier.reused and not tier.fresh for tier in summary.tiers.values())
    time = f" and {duration(saved_s)} of the models’ time" if saved_s else ""
    return tag(
        "p",
        f"{counted(summary.reused, 'document')} had been answered before with the same task, and took the known answer. At the mean of the "
        f"other documents of their tier{', or of all others where their tier had none,' if bare else ''} this saved about {money(saved)}{time}.",
    )


def reading(summary: Summary) -> Html:
    """Where the text of the pages came from."""
    total = sum(summary.sources.values())
    if not total:
        return NOTHING
    rows: list[list[Part]] = [
        [joined([swatch(f"source-{name}"), words]), count(summary.sources[name]), share(summary.sources[name], total)]
        for name, words in SOURCES.items()
        if summary.sources[name]
    ]
    drawn = parts_bar([(SOURCES[name], summary.sources[name], f"source-{name}") for name in SOURCES], "Pages by source")
    table = figures(rows, ("Source of the text", "Pages", "Share"), "Pages by where their text came from")
    return section("reading", "Reading", _kinds(summary), drawn, table)


def _kinds(summary: Summary) -> Html:
    if not summary.kinds:
        return NOTHING
    kinds = summary.kinds.most_common()
    told = [f"{count(number)} {name.upper()}" for name, number in kinds[:6]]
    rest = sum(number for _, number in kinds[6:])
    told += [f"{count(rest)} of {counted(len(kinds) - 6, 'other kind')}"] if rest else []
    chars = f" Their text has {count(summary.chars)} characters." if summary.with_chars else ""
    return tag("p", foreign(f"The documents: {', '.join(told)}.{chars}"))


def failures(summary: Summary) -> Html:
    """What failed, by cause, with what to do."""
    if not summary.failed:
        return section("failures", "Failures", tag("p", "No document failed."))
    causes = summary.failures.causes()
    rows: list[list[Part]] = []
    for cause in causes[:MOST_CAUSES]:
        more = cause.count - len(cause.examples)
        names = joined(
            [foreign(name) if not place else joined([", ", foreign(name)]) for place, name in enumerate(cause.examples)]
        )
        told = [
            tag("p", foreign(cause.message), " ", tag("code", foreign(cause.code))),
            tag("p", tag("b", "What to do: "), tag("bdi", with_code(cause.remedy))),
            tag("p", "In ", names, f" and\u00a0{more:,}\u00a0more" if more else "", class_="examples"),
        ]
        rows.append([joined(told), count(cause.count), share(cause.count, summary.failed)])
    rest = causes[MOST_CAUSES:]
    if rest:
        many = sum(cause.count for cause in rest)
        rows.append([counted(len(rest), "further cause"), count(many), share(many, summary.failed)])
    table = figures(rows, ("Cause", "Documents", "Share"), "Documents that failed, by cause", short=3)
    return section("failures", "Failures", table)


def fields(summary: Summary) -> Html:
    """How well each field of the answers is covered."""
    if not summary.with_data or not summary.fields:
        return NOTHING
    shown = list(summary.fields.items())[:MOST_FIELDS]
    rows = [_field(name, field, summary) for name, field in shown]
    left = len(summary.fields) - len(shown)
    more = tag("p", f"{counted(left, 'further field')} not shown.", class_="note") if left else NOTHING
    columns = ("Field", "Filled", "Found in the source", "To review")
    caption = f"Fields of {counted(summary.with_data, 'answer')}"
    told = (
        "Filled is the share of answers that give the field a value. Found is the share of the values looked for whose words stand in the document. "
        "To review counts the documents in which a person should look at the field."
    )
    return section("fields", "Fields", tag("p", told), figures(rows, columns, caption), more)


def _field(name: str, field: Field, summary: Summary) -> list[Part]:
    looked = field.found + field.missed
    found = share_bar(field.found, looked) if looked else Html(DASH)
    filled = share_bar(field.filled, summary.with_data)
    why = ", ".join(f"{count(many)} {REASONS.get(reason, reason)}" for reason, many in field.review.most_common(3))
    review: list[Part] = [count(field.to_review)] if field.to_review else [DASH]
    if why:
        review.append(tag("span", foreign(why), class_="why"))
    return [foreign(name), filled, found, joined(review)]


def cost_by_length(summary: Summary) -> Html:
    """The plot of cost against length."""
    if sum(len(sample.points) for sample in summary.samples.values()) < FEWEST_POINTS:
        return NOTHING
    drawn = scatter(summary.samples)
    left = [name for name, sample in summary.samples.items() if sample.seen > len(sample.points)]
    told = f" Of each tier at most {POINTS} documents are drawn, chosen by chance." if left else ""
    if summary.free:
        told += (
            f" {counted(summary.free, 'document')} that cost nothing {'is' if summary.free == 1 else 'are'} not drawn."
        )
    caption = tag("figcaption", f"Each mark is a document.{told}")
    return section("length", "Cost and length", tag("figure", drawn, caption))


def dearest(summary: Summary) -> Html:
    """The documents that cost most."""
    if len(summary.dearest) < 2:
        return NOTHING
    rows: list[list[Part]] = []
    for one in summary.dearest:
        name = joined([foreign(one.name), tag("span", " failed", class_="failed") if one.has_failed else NOTHING])
        size = [DASH if number is None else count(number) for number in (one.pages, one.chars)]
        rows.append(
            [name, foreign(one.tier), *size, money(one.cost_usd), share(float(one.cost_usd), float(summary.cost_usd))]
        )
    columns = ("Document", "Tier", "Pages", "Characters", "Cost", "Share of all")
    together = share(float(sum(one.cost_usd for one in summary.dearest)), float(summary.cost_usd))
    caption = f"{len(rows)} documents, which make {together} of the cost"
    return section("dearest", "Most expensive documents", figures(rows, columns, caption, words=2))


def notes(summary: Summary) -> Html:
    """What a reader should know of the figures."""
    said = ["Medians are within 1%; counts and sums are exact."]
    if summary.cut:
        said.append(
            f"{counted(summary.cut, 'answer ends', 'answers end')} early, at the most tokens that were allowed: raise max_tokens."
        )
    if summary.without_cost:
        said.append(f"{counted(summary.without_cost, 'line tells', 'lines tell')} no cost, and count as nothing.")
    if summary.with_pages < summary.documents:
        said.append(
            f"The number of pages is known of {count(summary.with_pages)} of {counted(summary.documents, 'document')}."
        )
    models = sorted(summary.models.items(), key=lambda one: (-one[1].documents, one[0]))
    rows: list[list[Part]] = [
        [foreign(name), count(one.documents), "simulated" if one.simulated else ""] for name, one in models[:20]
    ]
    columns, width = (("Model", "Answers", "Kind"), 3) if summary.simulated else (("Model", "Answers"), 2)
    table = figures([row[:width] for row in rows], columns, "Answers by model") if rows else NOTHING
    return section("notes", "Models and notes", table, *(tag("p", one, class_="note") for one in said))
