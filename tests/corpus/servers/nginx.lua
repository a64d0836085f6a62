-- What nginx saw of a request, as a line of JSON. See servers/README.md for the form.

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\" }

-- Bytes as the first 256 characters of Unicode.
local function text(bytes)
  return '"' .. bytes:gsub('[%c"\\\127-\255]', function(c)
    return escapes[c] or string.format("\\u%04x", c:byte())
  end) .. '"'
end

function answer()
  ngx.req.read_body()
  local body = ngx.req.get_body_data() or ""
  ngx.ctx.body = #body
  ngx.header["X-Target"] = ngx.var.request_uri
  ngx.header["Content-Length"] = 5
  ngx.print("seen\n")
end

-- Lines as they came; an empty list where the head was no head.
local function fields()
  local known, raw = pcall(ngx.req.raw_header, true)
  local list = {}
  for line in (known and raw or ""):gmatch("([^\n]*)\n") do
    local name, value = line:gsub("\r$", ""):match("^([^:]*):[ \t]*(.*)$")
    if name then
      list[#list + 1] = "[" .. text(name) .. "," .. text(value) .. "]"
    end
  end
  return "[" .. table.concat(list, ",") .. "]"
end

function report(path)
  local body = ngx.ctx.body
  local file = io.open(path, "a")
  file:write('{"line":', text(ngx.var.request or ""), ',"fields":', fields(), ',"body":', tostring(body or 0),
    ',"complete":', tostring(body ~= nil), ',"status":', tostring(ngx.status), "}\n")
  file:close()
end
