#!lua flags=allow-oom
-- ARGV: job token reason -> ok|lost. The job goes back as if it had not been claimed.
local token = ARGV[2]
local j = read(ARGV[1])
if not j then return 'lost' end
if j.released_by == token then return 'ok' end
if j.state ~= 'running' or j.token ~= token then return 'lost' end
stop_running(j)
set(j, 'released_by', token, 'before', token)
if j.cancel then
  cancelled(j, now_ms(), '')
  return 'ok'
end
set(j, 'state', 'queued', 'attempt', j.attempt - 1, 'step', 0)
enter_queue(j)
requeued(j, ARGV[3])
make_ready(j)
return 'ok'
