-- Long rows make pandoc divide the width of a table by the dashes under its header; let contents decide instead.
-- A first column of phrases is marked: on a phone it would shrink to a word a line.
local LONG = 10 -- letters

function Table(found)
  found.colspecs = found.colspecs:map(function(column) return { column[1], nil } end)
  for _, body in ipairs(found.bodies) do
    for _, row in ipairs(body.body) do
      if utf8.len(pandoc.utils.stringify(row.cells[1].contents)) > LONG then
        found.attr.classes:insert("long-labels")
        return found
      end
    end
  end
  return found
end
