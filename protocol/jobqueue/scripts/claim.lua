#!lua flags=allow-oom
-- ARGV: worker token free_bytes most held_elsewhere {model, most of it, bytes kept free from it}...
-- -> {bytes to wait for | '',
--     {name req attempt digest full granted due created solo ckpt cancel trace audit before}...}
-- Order: rank (priority), then jobs still in time before late ones, then due.
local worker, token = ARGV[1], ARGV[2]
local free, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local models, may, kept = {}, {}, {}
for i = 6, #ARGV, 3 do
  models[#models + 1] = ARGV[i]
  may[ARGV[i]], kept[ARGV[i]] = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
end
local now = now_ms()

local function describe(job)
  local v = redis.call('HMGET', key('job', job), 'req', 'attempt', 'digest', 'full', 'granted', 'due', 'created',
    'solo', 'ckpt', 'cancel', 'trace', 'audit', 'before')
  for i = 1, 13 do v[i] = v[i] or '' end
  return {job, unpack(v)}
end

local known = redis.call('LRANGE', key('claim', token), 0, -1)
if #known > 0 then  -- this very claim, sent again after a cut reply
  local reply = {''}
  for _, job in ipairs(known) do
    if redis.call('HGET', key('job', job), 'token') == token then reply[#reply + 1] = describe(job) end
  end
  return reply
end

promote(now)
local held = redis.call('SMEMBERS', key('held', worker))
if #held == 1 and redis.call('HGET', key('job', held[1]), 'solo') == '1' then return {''} end
local idle = #held + tonumber(ARGV[5]) == 0

-- What is free on an idle worker is all it has: a job that needs more is left to others.
local room = tonumber(redis.call('GET', key('room', worker)) or math.huge)
if idle and room ~= free then
  room = free
  redis.call('SET', key('room', worker), ARGV[3], 'PX', ROOM_TTL_MS)
end

local function add(line, from, to, heads, window, rank)
  local found = redis.call('ZRANGE', heads, from, to, 'BYSCORE', 'LIMIT', 0, window, 'WITHSCORES')
  for i = 1, #found, 2 do
    local own = rank or tonumber(redis.call('HGET', key('job', found[i]), 'rank') or 0)
    local due = tonumber(found[i + 1])
    line[#line + 1] = {name = found[i], due = due, rank = own, late = due < now and 1 or 0}
  end
  return #found / 2
end

-- At most `window` heads of every model, best first, without touching the rest of the queue.
local function lineup(window)
  local line = {}
  for _, model in ipairs(models) do
    local left = may[model] > 0 and window or 0
    local flows = redis.call('ZRANGE', key('turn', model), 0, 7, 'WITHSCORES')
    for i = 1, #flows, 2 do
      local ready, rank = key('ready', model, flows[i]), tonumber(flows[i + 1])
      if left > 0 then left = left - add(line, now, '+inf', ready, left, rank) end
      if left > 0 then left = left - add(line, '-inf', '(' .. string.format('%.0f', now), ready, left, rank) end
    end
    if may[model] > 0 then add(line, '-inf', '+inf', key('solo', model), 4) end
  end
  table.sort(line, function(a, b)
    if a.rank ~= b.rank then return a.rank < b.rank end
    if a.late ~= b.late then return a.late < b.late end
    if a.due ~= b.due then return a.due < b.due end
    return a.name < b.name
  end)
  return line
end

local taken, alone, wait, blocked = {}, false, '', nil

local function fits(j)
  local first = idle and #taken == 0
  if must_run_alone(j) then return first and j.mem <= free end
  return j.mem + (first and 0 or kept[j.model]) <= free
end

local function take(j)
  leave_queue(j)
  alone = must_run_alone(j)
  set(j, 'state', 'running', 'token', token, 'worker', worker, 'attempt', j.attempt + 1, 'step', 0,
    'solo', alone and '1' or '0')
  redis.call('HSETNX', key('job', j.name), 'started', now)
  redis.call('HDEL', key('job', j.name), 'passed')
  redis.call('ZADD', key('leases'), now + LEASE_TTL_MS, j.name)
  redis.call('SADD', key('held', worker), j.name)
  redis.call('RPUSH', key('claim', token), j.name)
  count(j.model, 0, 0, 1, j.units)
  emit(j.name, '{"type":"started","attempt":' .. (j.attempt + 1) .. '}')
  free = free - j.mem
  may[j.model] = may[j.model] - 1
  taken[#taken + 1] = j.name
  if blocked then blocked.passed = blocked.passed + 1 end
end

local function consider(job)
  local j = read(job)
  if not j or j.mem > room or may[j.model] < 1 then return end
  if fits(j) then
    take(j)
  elseif not blocked then
    blocked = j
  end
  if blocked and blocked.passed >= MAX_PASSES then
    wait = must_run_alone(blocked) and UNTIL_IDLE or string.format('%.0f', blocked.mem + kept[blocked.model])
  end
end

-- An idle worker that finds only jobs too large for it looks further down.
for _, window in ipairs(idle and {most + 4, 64} or {most + 4}) do
  if #taken > 0 then break end
  for _, head in ipairs(lineup(window)) do
    if #taken == most or alone or wait ~= '' then break end
    consider(head.name)
  end
end

if blocked then set(blocked, 'passed', blocked.passed) end
if #taken > 0 then redis.call('PEXPIRE', key('claim', token), CLAIM_TTL_MS) end
for _, model in ipairs(models) do
  if redis.call('EXISTS', key('turn', model), key('solo', model)) == 0 then
    redis.call('DEL', key('bell', model))
  elseif #taken > 0 then
    ring(model)
  end
end

local reply = {wait}
for _, job in ipairs(taken) do reply[#reply + 1] = describe(job) end
return reply
