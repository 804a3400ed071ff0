-- Long rows make pandoc divide the width of a table by the dashes under its header; let contents decide instead.
-- What would shrink to a word a line on a phone is marked: a first column of phrases, and a long phrase in any other.
-- On paper a first column of sentences gets more than its even share.
local LONG = 10 -- letters of a first column
local PHRASE = 24 -- letters of any other cell
local SENTENCE = 60 -- letters of a first column that is to be read
local READ = 0.42 -- of the text's width

local function letters(cell)
  return utf8.len(pandoc.utils.stringify(cell.contents))
end

function Table(found)
  found.colspecs = found.colspecs:map(function(column) return { column[1], nil } end)
  local rows, longest = pandoc.List(), 0
  rows:extend(found.head.rows)
  for _, body in ipairs(found.bodies) do
    for _, row in ipairs(body.body) do
      longest = math.max(longest, letters(row.cells[1]))
      if letters(row.cells[1]) > LONG and not found.attr.classes:includes("long-labels") then
        found.attr.classes:insert("long-labels")
      end
    end
    rows:extend(body.body)
  end
  if FORMAT == "typst" and longest > SENTENCE then found.colspecs[1] = { found.colspecs[1][1], READ } end
  for _, row in ipairs(rows) do
    for place, cell in ipairs(row.cells) do
      if place > 1 and letters(cell) > PHRASE then cell.attr.classes:insert("phrase") end
    end
  end
  return found
end
