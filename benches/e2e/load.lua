-- What wrk sends, and how it reports: one request after the other, X-API-Key taking each value of a file in turn.
--
-- Used by run.py and instructions.py: wrk ... -s load.lua URL -- KEYS METHOD BODY FIELDS. An empty line in the file
-- KEYS is a request without the header. BODY: bytes of it, 0 for none. FIELDS: a file of "Name: value" lines that each
-- request has too. All requests are built before the load starts; per request only an index moves.

local requests, count, at = {}, 0, 0

function init(args)
  local method, size = args[2], tonumber(args[3])
  local body = size > 0 and string.rep("x", size) or nil
  local fields = {}
  for line in io.lines(args[4]) do
    local name, value = line:match("^(.-): (.*)$")
    fields[name] = value
  end
  for key in io.lines(args[1]) do
    local headers = {}
    for name, value in pairs(fields) do
      headers[name] = value
    end
    if key ~= "" then
      headers["X-API-Key"] = key
    end
    count = count + 1
    requests[count] = wrk.format(method, wrk.path, headers, body)
    wrk.method, wrk.headers, wrk.body = method, headers, body
  end
  if count == 1 then
    -- wrk then builds the one request by itself and asks nobody for the next: it must be faster than who is measured.
    request = nil
  end
end

function request()
  at = at % count + 1
  return requests[at]
end

-- One line that begins with "wrk-json ": counts, duration in microseconds, latencies in microseconds.
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'wrk-json {"requests":%d,"duration_us":%d,"above_399":%d,"failed":%d,' ..
    '"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
