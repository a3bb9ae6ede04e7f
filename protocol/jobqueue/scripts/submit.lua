#!lua
-- ARGV: tenant id model flow rank due|'' units mem fp nonce idem|'' further fields and values...
-- -> {ok|replay|conflict|full, id of the job that stands}
local tenant, id, model, flow, rank = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local fp, nonce, idem = ARGV[9], ARGV[10], ARGV[11]
local job = tenant .. '/' .. id

if idem ~= '' then
  local known = redis.call('GET', key('idem', idem))
  if known then
    local older, print = known:match('^(%S+) (%S+)$')
    if print ~= fp then return {'conflict', older} end
    if older ~= id then return {'replay', older} end
  end
end
local old = redis.call('HMGET', key('job', job), 'fp', 'nonce')
if old[1] then
  if old[2] == nonce then return {'ok', id} end  -- this very call, sent again after a cut reply
  return {old[1] == fp and 'replay' or 'conflict', id}
end
if tonumber(redis.call('HGET', key('load', model), 'jobs') or 0) >= MAX_QUEUED_JOBS then return {'full', id} end

local now = now_ms()
local due = ARGV[6] ~= '' and tonumber(ARGV[6]) or now + DEFAULT_DUE_MS
redis.call('HSET', key('job', job), 'state', 'queued', 'model', model, 'flow', flow, 'rank', rank, 'due', due,
  'units', ARGV[7], 'mem', ARGV[8], 'fp', fp, 'nonce', nonce, 'created', now, 'attempt', 0, unpack(ARGV, 12))
if idem ~= '' then
  redis.call('HSET', key('job', job), 'idem', idem)
  redis.call('SET', key('idem', idem), id .. ' ' .. fp)
end
redis.call('ZADD', key('mine', tenant), now, job)
local j = read(job)
enter_queue(j)
make_ready(j)
return {'ok', id}
