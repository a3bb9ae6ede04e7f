#!lua flags=allow-oom
-- ARGV: job -> ok|live|missing. The idempotency key stays: a request sent again must not run again.
local j = read(ARGV[1])
if not j then return 'missing' end
if j.state == 'queued' or j.state == 'running' then return 'live' end
redis.call('ZREM', key('mine', j.name:match('^[^/]*')), j.name)
redis.call('ZREM', key('dead', j.model), j.name)
redis.call('ZREM', key('ended'), j.name)
redis.call('DEL', key('ev', j.name), key('job', j.name))
return 'ok'
