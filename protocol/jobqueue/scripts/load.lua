#!lua flags=no-writes
-- ARGV: model -> {jobs units running_jobs running_units oldest_ms dead}
local now = now_ms()
local v = redis.call('HMGET', key('load', ARGV[1]), 'jobs', 'units', 'running_jobs', 'running_units')
local oldest = redis.call('ZRANGE', key('waiting', ARGV[1]), 0, 0, 'WITHSCORES')
return {
  tonumber(v[1] or 0), tonumber(v[2] or 0), tonumber(v[3] or 0), tonumber(v[4] or 0),
  oldest[2] and now - oldest[2] or 0, redis.call('ZCOUNT', key('dead', ARGV[1]), now, '+inf'),
}
