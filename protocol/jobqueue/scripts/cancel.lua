#!lua flags=allow-oom
-- ARGV: job -> cancelled|cancelling|already_cancelled|ended|missing
local j = read(ARGV[1])
if not j then return 'missing' end
if j.state == 'queued' then
  leave_queue(j)
  cancelled(j, now_ms(), '')
  return 'cancelled'
elseif j.state == 'running' then
  if not j.cancel then
    set(j, 'cancel', '1')
    emit(j.name, '{"type":"cancelling"}')
  end
  redis.call('PUBLISH', 'rh:w:' .. j.worker, j.name)
  return 'cancelling'
end
return j.state == 'cancelled' and 'already_cancelled' or 'ended'
