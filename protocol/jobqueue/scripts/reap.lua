#!lua flags=allow-oom
-- ARGV: limit -> number of leases that ran out. Also ends back-offs and forgets jobs whose hash has expired.
local now, limit = now_ms(), tonumber(ARGV[1])
local expired = redis.call('ZRANGE', key('leases'), '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
for _, job in ipairs(expired) do
  local j = read(job)
  if j then crash(j, now, 'lease_expired') else redis.call('ZREM', key('leases'), job) end
end
promote(now)
local gone = redis.call('ZRANGE', key('ended'), '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
for _, job in ipairs(gone) do
  redis.call('ZREM', key('ended'), job)
  redis.call('ZREM', key('mine', job:match('^[^/]*')), job)
end
return #expired
