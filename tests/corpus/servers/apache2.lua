-- What httpd saw of a request, as a line of JSON. See servers/README.md for the form. httpd has joined fields of one
-- name with commas before anybody can look at them.

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\" }

-- Bytes as the first 256 characters of Unicode.
local function text(bytes)
  return '"' .. tostring(bytes):gsub('[%c"\\\127-\255]', function(c)
    return escapes[c] or string.format("\\u%04x", c:byte())
  end) .. '"'
end

-- An input filter: bytes of the decoded body, and whether its end came. mod_lua's own way to read a body knows no
-- chunks.
function count(r)
  local length = 0
  coroutine.yield()
  while bucket ~= nil do
    length = length + #bucket
    r.notes["body"] = tostring(length)
    coroutine.yield(bucket)
  end
  r.notes["complete"] = "1"
  coroutine.yield()
end

function answer(r)
  r.headers_out["X-Target"] = r.the_request:match("^%S+ (%S+)")
  r.headers_out["Content-Length"] = "5"
  r:puts("seen\n")
  return apache2.OK
end

function report(r)
  local list = {}
  for name, value in pairs(r:headers_in_table()) do
    list[#list + 1] = "[" .. text(name) .. "," .. text(value) .. "]"
  end
  local has_body = r.headers_in["Transfer-Encoding"] or (r.headers_in["Content-Length"] or "0"):match("[^0]")
  local complete = r.status == 200 and (not has_body or r.notes["complete"] ~= nil)
  local file = io.open("@DIR@/reports", "a")
  file:write('{"line":', text(r.the_request or ""), ',"fields":[', table.concat(list, ","), '],"body":',
    r.notes["body"] or "0", ',"complete":', tostring(complete), ',"status":', tostring(r.status), "}\n")
  file:close()
  return apache2.OK
end
