"""Parameters of a test that are not the same to every version of PostgreSQL."""

import pytest


def cases(names, versions=(), since=None):
    """The names. Tests of those in `versions` also run on other versions of
    PostgreSQL; since = {"xml": 14} says that older ones do not know "xml"."""
    since = since or {}
    unknown = {*versions, *since} - {*names}
    assert not unknown, f"there are no {unknown}"
    return [pytest.param(name, marks=[
        *([pytest.mark.versions] if name in versions else []),
        *([pytest.mark.since(since[name])] if name in since else [])])
        for name in names]
