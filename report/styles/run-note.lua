-- What was run (profile, data, device), under the title of every page; the PDF has it under every chapter's title.
-- The text is in _run.yml, which `python -m rankstudy run` and Quarto's pre-render step write.
function Pandoc(doc)
  local lines = pandoc.Blocks {}
  for _, key in ipairs { "run-warning", "run-note" } do
    if doc.meta[key] then
      local text = pandoc.Para { pandoc.Str(pandoc.utils.stringify(doc.meta[key])) }
      lines:insert(pandoc.Div(text, pandoc.Attr("", { key })))
    end
  end
  if quarto.doc.is_format("html") then
    doc.blocks = lines .. doc.blocks
    return doc
  end
  local blocks = pandoc.Blocks {}
  for _, block in ipairs(doc.blocks) do
    blocks:insert(block)
    if block.t == "Header" and block.level == 1 then blocks:extend(lines:clone()) end
  end
  doc.blocks = blocks
  return doc
end
