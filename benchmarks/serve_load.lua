-- wrk: POST the file that BODY names again and again; the last line printed is one JSON object.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
file:close()

function done(summary, latency)
  local errors = summary.errors
  local form = '{"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, "refused": %d, "broken": %d, "late": %d}\n'
  io.write(form:format(
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
