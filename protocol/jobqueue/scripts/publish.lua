#!lua flags=allow-oom
-- ARGV: job token digest step|'' then pairs (log|<sample>, event) -> ok|lost. What comes with a sample's number
-- is its preview: told, not logged, and kept until the next one while all that are kept fit.
local job = ARGV[1]
local v = redis.call('HMGET', key('job', job), 'state', 'token', 'pub')
if v[1] ~= 'running' or v[2] ~= ARGV[2] then return 'lost' end
if v[3] == ARGV[3] then return 'ok' end  -- this very call, sent again after a cut reply
redis.call('HSET', key('job', job), 'pub', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', key('job', job), 'step', ARGV[4]) end

local function show(sample, body)
  local shown = key('shown', job)
  redis.call('HDEL', shown, sample)
  local bytes = #body
  for _, other in ipairs(redis.call('HVALS', shown)) do bytes = bytes + #other end
  if bytes <= PREVIEWS_BYTES then redis.call('HSET', shown, sample, body) end
  redis.call('PUBLISH', key('ev', job), '0 ' .. body)
end

for i = 5, #ARGV, 2 do
  if ARGV[i] == 'log' then emit(job, ARGV[i + 1]) else show(ARGV[i], ARGV[i + 1]) end
end
return 'ok'
