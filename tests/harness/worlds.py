"""What tests of worlds on a server share.

Each test has a spec. Those of a file are run by one luamig test, and each test
looks at what became of its own: of a spec that passes with the fixture
`passes`, of one that must fail with `complaint`. They need the fixture
`worlds`.
"""

import re
import subprocess

import pytest

from harness.project import DONE, FAILED, Project, binary, clean_environment

HEAD = r"""
local mock = require "luamig.mock"
local luamig = require "luamig"

local scripts = 0
local function script(text)
  scripts = scripts + 1
  local path = ("scripts/%d.lua"):format(scripts)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

local WELCOME = [[return {
  base_query = "SELECT id FROM users WHERE step IS NULL",
  migrate = function(rows, repo)
    for _, user in ipairs(rows) do
      repo:update("users", { id = user.id }, { step = "welcome" })
    end
  end }]]

local function world(rows, base)
  return mock.new {
    tables = { users = {
      columns = { id = "int8", email = "text", step = "text" },
      primary_key = { "id" }, unique = { { "email" } },
      rows = rows or {
        { id = 10, email = "c" }, { id = 1, email = "a" },
        { id = 2, email = "b", step = "done" },
      },
    } },
    base = base or {
      from = "users", select = { "id" },
      where = function(row) return row.step == nil end,
    },
  }
end

local function migrate(body, query)
  return script(([[local luamig = require "luamig"
    return { base_query = %q, migrate = function(rows, repo, run)
      %s
    end }]]):format(query or "SELECT id FROM users WHERE step IS NULL", body))
end
local function once(body)
  return script(([[local luamig = require "luamig"
    return { run = function(repo, run)
      %s
    end }]]):format(body))
end
local function steps(w)
  local list = {}
  for i, row in ipairs(w:rows "users") do list[i] = row.step or "-" end
  return table.concat(list, " ")
end
"""

SCHEMA = """
CREATE DOMAIN level AS int CHECK (VALUE > 0);
CREATE TABLE accounts (
  level level,
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email varchar(20) NOT NULL UNIQUE,
  touched int NOT NULL DEFAULT 0);
CREATE TABLE notes (account bigint REFERENCES accounts, body text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN NEW.touched := NEW.touched + 1; RETURN NEW; END';
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON accounts
  FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE plans (name text PRIMARY KEY, price int);
INSERT INTO plans VALUES ('free', 0), ('pro', 9);
CREATE SCHEMA audit;
CREATE TABLE audit.entries (id serial PRIMARY KEY, what text) PARTITION BY RANGE (id);
CREATE TABLE audit.first_entries PARTITION OF audit.entries FOR VALUES FROM (1) TO (1000);
CREATE SEQUENCE numbers;
SELECT setval('numbers', 41, false);
"""

SPECS = {}  # of each file of tests


def spec(lua):
    """The spec of a test."""
    def mark(test):
        SPECS.setdefault(test.__module__, {})[test.__name__] = lua
        return test
    return mark


class Worlds:
    """What became of the specs of a file."""

    def __init__(self, folder, specs):
        project = Project(folder)
        project.write("schema.sql", SCHEMA)
        project.write("spec/world_spec.lua", HEAD + "\n".join(
            f'it("{name}", function()\n{lua}\nend)'
            for name, lua in specs.items()))
        ended = subprocess.run(
            [binary(), "test", "--schema", "schema.sql", "-o", "TAP"],
            cwd=project.path, env=clean_environment(), check=False,
            capture_output=True, text=True, timeout=500)
        assert ended.returncode in (DONE, FAILED), ended.stderr
        assert ended.stderr == ""
        self.out = ended.stdout
        self.ended = {name: how for how, name in re.findall(
            r"^((?:not )?ok) \d+ - (\w+)$", ended.stdout, re.M)}

    def complaint(self, name):
        """What TAP says of a spec that has failed."""
        found = re.search(rf"^not ok \d+ - {name}\n((?:#.*\n)*)", self.out,
                          re.M)
        return re.sub(r"^# ", "", found.group(1), flags=re.M) if found else ""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory, request):
    return Worlds(tmp_path_factory.mktemp("worlds"),
                  SPECS[request.module.__name__])


@pytest.fixture
def passes(worlds, request):
    name = request.node.originalname
    assert worlds.ended.get(name) == "ok", (worlds.complaint(name)
                                            or worlds.out)


@pytest.fixture
def complaint(worlds, request):
    name = request.node.originalname
    assert worlds.ended.get(name) == "not ok", worlds.out
    return worlds.complaint(name)
