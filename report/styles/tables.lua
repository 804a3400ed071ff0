-- Long rows make pandoc divide the width of a table by the dashes under its header; let contents decide instead.
function Table(found)
  found.colspecs = found.colspecs:map(function(column) return { column[1], nil } end)
  return found
end
