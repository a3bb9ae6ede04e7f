#!lua flags=allow-oom
-- ARGV: worker -> number of jobs. Its engine is dead, so none of its leases need be waited for.
local now = now_ms()
local held = redis.call('SMEMBERS', key('held', ARGV[1]))
for _, job in ipairs(held) do
  local j = read(job)
  if j then crash(j, now, 'crash') end
end
return #held
