#!lua flags=no-writes
-- ARGV: job -> how many jobs would be served before it, -1 if it does not wait
local j = read(ARGV[1])
if not j or j.state ~= 'queued' then return -1 end
local now = now_ms()
local due = string.format('(%.0f', j.due)
local ahead = 0
local flows = redis.call('ZRANGE', key('turn', j.model), 0, -1, 'WITHSCORES')
for i = 1, #flows, 2 do
  local ready, rank = key('ready', j.model, flows[i]), tonumber(flows[i + 1])
  if rank < j.rank then
    ahead = ahead + redis.call('ZCARD', ready)
  elseif rank == j.rank and j.due >= now then
    ahead = ahead + redis.call('ZCOUNT', ready, now, due)
  elseif rank == j.rank then
    ahead = ahead + redis.call('ZCOUNT', ready, now, '+inf') + redis.call('ZCOUNT', ready, '-inf', due)
  end
end
return ahead
