-- What HAProxy saw of a request, as a line of JSON. See servers/README.md for the form. Names are in lower case:
-- HAProxy keeps no other.

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\" }

-- Bytes as the first 256 characters of Unicode.
local function text(bytes)
  return '"' .. tostring(bytes):gsub('[%c"\\\127-\255]', function(c)
    return escapes[c] or string.format("\\u%04x", c:byte())
  end) .. '"'
end

local function write(applet, target, body, complete)
  local list = {}
  for name, values in pairs(applet.headers) do
    -- They begin at 0, and their order counts.
    local at = 0
    while values[at] do
      list[#list + 1] = "[" .. text(name) .. "," .. text(values[at]) .. "]"
      at = at + 1
    end
  end
  local line = applet.method .. " " .. target .. " " .. applet.version
  local file = io.open("@DIR@/reports", "a")
  file:write('{"line":', text(line), ',"fields":[', table.concat(list, ","), '],"body":', tostring(#body),
    ',"complete":', tostring(complete), ',"status":200}\n')
  file:close()
end

core.register_service("answer", "http", function(applet)
  local target = applet:get_var("txn.target")
  -- Behind a request for an upgrade there is no body but a tunnel, which would be waited for.
  local body = applet.headers["upgrade"] and "" or applet:receive()
  write(applet, target, body, true)
  applet:set_status(200)
  applet:add_header("X-Target", target)
  applet:add_header("Content-Length", "5")
  applet:start_response()
  if applet.method ~= "HEAD" then
    applet:send("seen\n")
  end
end)
