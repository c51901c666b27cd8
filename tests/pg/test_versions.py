"""Other versions of PostgreSQL than the installed one: what is another there."""

import pytest

from harness import readings
from harness.oracle import assert_once
from harness.project import DONE

VERSIONS = [13, 14, 16, 17, 18]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_is_killed_and_goes_on(project_of, version):
    project = project_of(version)
    readings.create(project.db, 300)
    project.script(readings.script(batch=50))

    project.run(fault="after_commit:2=kill")
    project.run().expect(DONE)

    assert_once(project.db)
