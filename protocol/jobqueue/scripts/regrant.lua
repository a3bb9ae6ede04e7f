#!lua
-- ARGV: job granted units -> ok|started|floor|missing. Only a job that waits can be granted less.
local j = read(ARGV[1])
if not j then return 'missing' end
if j.state ~= 'queued' then return 'started' end
local job = key('job', j.name)
local v = redis.call('HMGET', job, 'granted', 'full', 'floor')
local granted, units = tonumber(ARGV[2]), tonumber(ARGV[3])
if granted < tonumber(v[3]) then return 'floor' end
if granted == tonumber(v[1]) and units == j.units then return 'ok' end
redis.call('HSET', job, 'granted', ARGV[2], 'units', ARGV[3])
redis.call('HINCRBY', key('load', j.model), 'units', units - j.units)
emit(j.name, string.format('{"type":"degraded","from":%.6g,"to":%.6g}', v[1] / v[2], granted / v[2]))
return 'ok'
