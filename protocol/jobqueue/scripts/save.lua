#!lua
-- ARGV: job token pointer step -> ok|lost
local v = redis.call('HMGET', key('job', ARGV[1]), 'state', 'token')
if v[1] ~= 'running' or v[2] ~= ARGV[2] then return 'lost' end
redis.call('HSET', key('job', ARGV[1]), 'ckpt', ARGV[3], 'step', ARGV[4])
return 'ok'
