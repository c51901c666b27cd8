"""The plans that the server really used, as auto_explain logs them."""

import json
import re

_ENTRY = re.compile(r"^([^|\n]*)\|[^|\n]*\|\d+\|LOG:  duration: .* plan:\n"
                    r"((?:\t.*\n)+)", re.M)


def record(db):
    """From the next session on, every plan in this database is logged."""
    db.set("session_preload_libraries", "auto_explain")
    db.set("auto_explain.log_min_duration", "0")
    db.set("auto_explain.log_format", "json")


def of_pages(db):
    """Plans of the pages: what luamig asks of "... page ... LIMIT". The query
    for the highest key looks alike, but walks backward; what is only explained
    is not run."""
    plans = [json.loads(text) for name, text in _ENTRY.findall(
        db.cluster.log()) if name == db.name]
    return [plan["Plan"] for plan in plans
            if re.search(r"\bpage\b.*\bLIMIT\b", plan["Query Text"], re.S)
            and not plan["Query Text"].startswith("EXPLAIN")
            and any(node["Node Type"] == "Limit"
                    for node in nodes(plan["Plan"]))
            and not any(node.get("Scan Direction") == "Backward"
                        for node in nodes(plan["Plan"]))]


def nodes(plan):
    """The plan and everything below it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def of_combined(db):
    """Plans of combined statements."""
    plans = [json.loads(text) for name, text in _ENTRY.findall(
        db.cluster.log()) if name == db.name]
    return [plan["Plan"] for plan in plans
            if plan["Query Text"].startswith("WITH written AS (")]
