local mock = require "luamig.mock"

local SCRIPT = "scripts/compute_isbn13.lua"

local function new_world(isbn10, isbn13)
  return mock.new {
    tables = {
      books = {
        columns = { id = "int8", title = "text", isbn10 = "text", isbn13 = "text" },
        primary_key = { "id" }, not_null = { "title" },
        rows = {
          { id = 1, title = "Code Complete", isbn10 = isbn10, isbn13 = isbn13 },
          { id = 2, title = "The C Programming Language", isbn10 = "0131103628" },
        },
      },
    },
    base = {
      from = "books", select = { "id", "isbn10" },
      where = function(row)
        return row.isbn13 == nil and row.isbn10 ~= nil
      end,
    },
  }
end

--- What the script makes of one number.
local function computed(isbn10)
  local world = new_world(isbn10)
  assert.equal("done", world:run(SCRIPT).state)
  return world:rows("books")[1].isbn13
end

describe("compute_isbn13", function()
  it("replaces the check digit", function()
    assert.equal("9780735619678", computed "0735619670")
    assert.equal("9780306406157", computed "0306406152")
  end)

  it("takes hyphens, spaces and an X in either case", function()
    assert.equal("9780735619678", computed "0-7356-1967-0")
    assert.equal("9780804429573", computed "0 8044 2957 X")
    assert.equal("9780804429573", computed "080442957x")
  end)

  it("leaves a wrong number alone, and says which book has it", function()
    for _, wrong in ipairs { "0735619671", "07356", "", "0–7356–1967–0", "X735619670" } do
      local world = new_world(wrong)
      assert.equal("done", world:run(SCRIPT).state)
      local books = world:rows "books"
      assert.is_nil(books[1].isbn13)
      assert.equal("9780131103627", books[2].isbn13)
      local logged = {}
      for _, entry in ipairs(world.log) do
        if entry.verb == "log" then
          logged[#logged + 1] = entry.fields
        end
      end
      assert.same({ { book = 1 } }, logged)
    end
  end)

  it("touches neither books without a number nor those that are done", function()
    assert.equal(1, new_world(nil):run(SCRIPT).rows)
    local world = new_world("0735619670", "typed in")
    assert.equal(1, world:run(SCRIPT).rows)
    assert.equal("typed in", world:rows("books")[1].isbn13)
  end)

  it("may be killed anywhere, repeated, and run in batches of any size by any workers", function()
    local function world()
      return new_world "0735619670"
    end
    mock.assert_resumable(SCRIPT, world, { batch_size = 1 })
    mock.assert_idempotent(SCRIPT, world)
    mock.assert_batch_size_independent(SCRIPT, world)
    mock.assert_workers_independent(SCRIPT, world)
  end)
end)
