-- The telling layer: sentences bound to claims, numbers with intervals, short answers, folded answers, listings,
-- provenance at the foot. One filter for Quarto and for the preview. Syntax: CONTRIBUTING, "A page".

local told = { claims = {}, missing = {} }
local html = FORMAT:match("html") ~= nil
local typst = FORMAT:match("typst") ~= nil
local MARKS = { supported = "✓", refuted = "(expected otherwise)", inconclusive = "(inconclusive)" }

local function decode(text)
  if quarto and quarto.json then return quarto.json.decode(text) end
  return pandoc.json.decode(text, false)
end

local function escape(text)
  return (text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;"):gsub('"', "&quot;"))
end

-- Where a page of evidence stands, seen from this one: Quarto keeps folders, the preview has one.
local function address(page, anchor)
  if quarto then
    local offset = quarto.project and quarto.project.offset or "."
    return offset .. "/report/" .. page .. ".html#" .. anchor
  end
  return page:gsub("/", "-") .. ".html#" .. anchor
end

local function evidence(claim, class, text)
  local tip = claim.word .. ": " .. claim.summary
  return pandoc.RawInline("html", string.format(
    '<a class="%s" href="%s" data-tip="%s" aria-label="%s">%s</a>',
    class, escape(address(claim.page, claim.anchor)), escape(tip), escape(tip .. "; to the evidence"), text))
end

local function mark(claim)
  if html then return evidence(claim, "verdict " .. claim.verdict, MARKS[claim.verdict]) end
  return claim.verdict == "supported" and pandoc.Superscript("✓") or pandoc.Str(" " .. MARKS[claim.verdict])
end

-- A sentence is printed under the verdict it was written for; else what was expected, what came out, and how much.
local function bound(span)
  local id = span.attributes.claim
  if not id then return nil end
  local claim = told.claims[id]
  if not claim and told.unread then return pandoc.Span(span.content) end
  if not claim then error("no claim has the id '" .. id .. "'; told.page() of its result must be the page's first cell") end
  if #span.content == 0 then return mark(claim) end
  local meant = span.attributes.when or "supported"
  if claim.verdict == meant or (meant == "small" and claim.small) then
    local content = pandoc.Inlines(span.content)
    if claim.verdict ~= "supported" then content:insert(pandoc.Space()) end
    content:insert(mark(claim))
    return pandoc.Span(content, pandoc.Attr("", { "bound" }))
  end
  local hypothesis = pandoc.read(claim.sentence, "markdown").blocks[1].content
  local content = pandoc.Inlines({ pandoc.Str("Hypothesis:"), pandoc.Space() })
  local word = html and evidence(claim, "judged", claim.word) or pandoc.Str(claim.word)
  content:extend({ pandoc.Emph(hypothesis), pandoc.Space(), pandoc.Strong(word), pandoc.Space() })
  local summary = claim.summary:gsub(" ([=<]) ", "\u{a0}%1\u{a0}"):gsub(" ± ", "\u{a0}±\u{a0}")
  content:insert(pandoc.Str("(" .. summary .. ")."))
  return pandoc.Span(content, pandoc.Attr("", { "bound", "replaced" }))
end

local function tip(span)
  local class = span.classes:includes("number") and "number" or span.classes:includes("term") and "term" or nil
  if not class then return nil end
  local text = span.attributes["data-tip"] or span.attributes.def
  if not text then return nil end
  if html then
    local open = string.format('<span class="%s" tabindex="0" data-tip="%s">', class, escape(text))
    local content = pandoc.Inlines({ pandoc.RawInline("html", open) })
    content:extend(span.content)
    -- what a screen reader says after it
    content:insert(pandoc.RawInline("html", '<span class="visually-hidden"> (' .. escape(text) .. ")</span></span>"))
    return content
  end
  if class == "number" then return span.content end
  local content = pandoc.Inlines(span.content)
  content:insert(pandoc.Note(pandoc.Para(pandoc.read(text, "markdown").blocks[1].content)))
  return content
end

-- Links in raw HTML that name a claim lead to its evidence.
local function linked(raw)
  if not raw.format:match("html") or not raw.text:find('href="claim:', 1, true) then return nil end
  raw.text = raw.text:gsub('href="claim:([%w-]+)"', function(id)
    local claim = told.claims[id]
    if claim then return 'href="' .. escape(address(claim.page, claim.anchor)) .. '"' end
    if told.unread then return "" end
    error("no claim has the id '" .. id .. "'; told.page() of its result must be the page's first cell")
  end)
  return raw
end

-- A link to a chapter's source with its label, report/03-rank.qmd#sec-rank: Quarto's HTML knows what to do with it.
local function chapter(link)
  local page, label = link.target:match("^report/(.+)%.qmd#([%w-]+)$")
  if not page then return nil end
  if typst then
    local content = pandoc.Inlines({ pandoc.RawInline("typst", "#link(<" .. label .. ">)[") })
    content:extend(link.content)
    content:insert(pandoc.RawInline("typst", "]"))
    return content
  end
  if html and not quarto then
    link.target = address(page, label)
    return link
  end
end

local function short_answer(div)
  local head = pandoc.Div({ pandoc.Plain({
    pandoc.Span("Short answer", pandoc.Attr("", { "short-answer-title" })), pandoc.Space(),
    pandoc.Span("Task " .. (div.attributes.task or ""), pandoc.Attr("", { "short-answer-task" })) }) },
    pandoc.Attr("", { "short-answer-head" }))
  div.attributes.task = nil
  if typst then
    local content = pandoc.Blocks({ pandoc.RawBlock("typst",
      "#block(width: 100%, inset: (left: 1em, rest: .8em), stroke: (left: 2.5pt + rgb(\"#0b5cad\")), fill: rgb(\"#f3f5fa\"))[") })
    content:insert(pandoc.Para(pandoc.Strong("Short answer")))
    content:extend(div.content)
    content:insert(pandoc.RawBlock("typst", "]"))
    return content
  end
  div.content:insert(1, head)
  return div
end

local function answer(div)
  if html then
    local content = pandoc.Blocks({ pandoc.RawBlock("html", '<details class="answer"><summary>Answer</summary>') })
    content:extend(div.content)
    content:insert(pandoc.RawBlock("html", "</details>"))
    return content
  end
  div.content:insert(1, pandoc.Para(pandoc.Emph("Answer")))
  return div
end

local function listing(div)
  local file = div.attributes.file or ""
  div.attributes.file = nil
  div.content:insert(1, pandoc.Div(pandoc.Plain(pandoc.Code(file)), pandoc.Attr("", { "listing-file" })))
  return div
end

-- What rests on a control, where that has not been computed: a line, or in the short answer nothing.
local function control(div)
  if not told.missing[div.attributes.of] then return div.content end
  if div.classes:includes("silent") then return {} end
  return pandoc.Para(pandoc.Emph("This control has not been run under this profile."))
end

-- The panels of a figure are raw HTML: the text that stands for them goes onto the element that holds them.
local function described(node, alt)
  return node:walk({ RawBlock = function(raw)
    if raw.format == "html" then
      raw.text = raw.text:gsub('<div class="panels"', '<div class="panels" role="img" aria-label="' ..
        escape(alt):gsub("%%", "%%%%") .. '"', 1)
      return raw
    end
  end })
end

-- Numbers stay with their units, signs with their numbers.
local UNITS = { ["%"] = true, ["±"] = true, points = true, s = true, ms = true, MB = true, GB = true, kB = true }
local function together(inlines)
  for index = 2, #inlines - 1 do
    local before, space, after = inlines[index - 1], inlines[index], inlines[index + 1]
    if (space.t == "Space" or space.t == "SoftBreak") and before.t == "Str" and after.t == "Str" then
      local word = after.text:gsub("[.,;:)]+$", "")
      local number, next_number = before.text:match("%d$"), after.text:match("^[%d−+]")
      if after.text == "−" or before.text == "−" or (number and UNITS[word]) or (before.text == "±" and next_number) or utf8.len((before.text:gsub("^[(]", ""))) == 1 and word == "="
        or before.text == "=" and next_number or (before.text:match("^[Tt]ask$") and next_number) then
        inlines[index] = pandoc.Str("\u{a0}")
      end
    end
  end
  return inlines
end

local function line_of_provenance(text)
  if html then return pandoc.Div(pandoc.Plain(pandoc.Str(text)), pandoc.Attr("", { "provenance" })) end
  return pandoc.Para(pandoc.Emph(pandoc.Str(text)))
end

-- What `told.page` printed is taken out of a block; provenance goes to `foot`.
local function taken(block, foot)
  return pandoc.Blocks({ block }):walk({ Div = function(div)
    if div.classes:includes("told") then
      local text
      div:walk({ CodeBlock = function(code) text = code.text end })
      local found = decode(text)
      for id, claim in pairs(found.claims) do told.claims[id] = claim end
      for _, experiment in ipairs(found.missing or {}) do told.missing[experiment] = true end
      if found.provenance ~= "" then foot:insert(line_of_provenance(found.provenance)) end
      if found.warning ~= "" then
        return pandoc.Div(pandoc.Para(pandoc.Str(found.warning)), pandoc.Attr("", { "warning-line" }))
      end
      return {}
    elseif div.classes:includes("provenance") then -- of the pages that are still told the old way
      foot:insert(div)
      return {}
    end
  end })
end

-- The page as a notebook, which lies beside it: every chapter has one, and the tutorial is one.
local function own_notebook(doc)
  local name = doc.meta["own-notebook"] -- the preview says it
  if not name and quarto and quarto.doc and html then
    local file = quarto.doc.input_file:gsub("\\", "/")
    local page = file:match("/report/(%d%d%-[^/]*)%.qmd$") or file:match("/report/(tutorial)%.qmd$")
    name = page and page .. ".ipynb"
  end
  if not name then return pandoc.Blocks({}) end
  return pandoc.Blocks({ pandoc.RawBlock("html", string.format(
    '<p class="own-notebook"><a href="%s" download%s>This page as a notebook</a></p>', pandoc.utils.stringify(name),
    quarto and ' data-noresolveinput="true"' or "")) }) -- it is no source of Quarto's
end

local function collect(doc)
  told.unread = doc.meta["not-executed"] -- the preview shows the source of chapters that were not asked for
  local blocks, foot = pandoc.Blocks({}), pandoc.Blocks({})
  for _, block in ipairs(doc.blocks) do -- in the PDF one document holds all chapters, each with its own foot
    if block.t == "Header" and block.level == 1 then
      blocks:extend(foot)
      foot = pandoc.Blocks({})
    end
    blocks:extend(taken(block, foot))
  end
  blocks:extend(foot)
  blocks:extend(own_notebook(doc))
  doc.blocks = blocks:walk({ Div = function(div) if div.classes:includes("control") then return control(div) end end })
  return doc
end

return {
  { Pandoc = collect },
  {
    Inlines = together,
    Div = function(div)
      if div.classes:includes("short-answer") then return short_answer(div) end
      if div.classes:includes("answer") then return answer(div) end
      if div.classes:includes("listing") then return listing(div) end
      local alt = div.attributes["fig-alt"]
      if alt then
        div.attributes["fig-alt"] = nil
        return described(div, alt)
      end
    end,
    FloatRefTarget = function(float) -- what Quarto makes of a figure before filters see it
      local alt = float.attributes and float.attributes["fig-alt"]
      if not alt then return nil end
      float.content = described(pandoc.Div(float.content), alt).content
      return float
    end,
    Span = function(span) return bound(span) or tip(span) end,
    Link = chapter,
    RawBlock = linked,
  },
}
