#!lua flags=allow-oom
-- ARGV: worker, then pairs of job and token... -> {ok|cancel|lost...}
local expiry = now_ms() + LEASE_TTL_MS
local words = {}
for i = 2, #ARGV, 2 do
  local v = redis.call('HMGET', key('job', ARGV[i]), 'state', 'token', 'cancel')
  local word = 'lost'
  if v[1] == 'running' and v[2] == ARGV[i + 1] then
    redis.call('ZADD', key('leases'), expiry, ARGV[i])
    word = v[3] == '1' and 'cancel' or 'ok'
  end
  words[#words + 1] = word
end
return words
