-- Stands before every script; the constants in capitals are put before it from the settings.
local P = KEYS[1]
local UNTIL_IDLE = '4611686018427387904'

local function key(name, a, b)
  if b then return P .. name .. ':' .. a .. ':' .. b end
  if a then return P .. name .. ':' .. a end
  return P .. name
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The part of a job that scripts decide by, or nil.
local function read(job)
  local v = redis.call('HMGET', key('job', job), 'state', 'model', 'flow', 'rank', 'due', 'units', 'mem',
    'created', 'attempt', 'crashes', 'solo_crashes', 'solo', 'token', 'worker', 'cancel', 'idem', 'ended_by',
    'released_by', 'passed')
  if not v[1] then return nil end
  return {
    name = job, state = v[1], model = v[2], flow = v[3], rank = tonumber(v[4]), due = tonumber(v[5]),
    units = tonumber(v[6]), mem = tonumber(v[7]), created = tonumber(v[8]), attempt = tonumber(v[9]),
    crashes = tonumber(v[10] or 0), solo_crashes = tonumber(v[11] or 0), solo = v[12] == '1',
    token = v[13], worker = v[14], cancel = v[15] == '1', idem = v[16], ended_by = v[17],
    released_by = v[18], passed = tonumber(v[19] or 0),
  }
end

local function set(j, ...)
  redis.call('HSET', key('job', j.name), ...)
end

-- Log an event and tell who listens.
local function emit(job, body)
  local seq = redis.call('HINCRBY', key('job', job), 'seq', 1)
  redis.call('XADD', key('ev', job), seq .. '-0', 'e', body)
  redis.call('PUBLISH', key('ev', job), seq .. ' ' .. body)
end

local function count(model, jobs, units, running_jobs, running_units)
  local load = key('load', model)
  if jobs ~= 0 then
    redis.call('HINCRBY', load, 'jobs', jobs)
    redis.call('HINCRBY', load, 'units', units)
  end
  if running_jobs ~= 0 then
    redis.call('HINCRBY', load, 'running_jobs', running_jobs)
    redis.call('HINCRBY', load, 'running_units', running_units)
  end
end

local function ring(model)
  local bell = key('bell', model)
  if redis.call('LLEN', bell) < BELL_LIMIT then redis.call('LPUSH', bell, '1') end
end

local function must_run_alone(j)
  return j.crashes >= 2
end

-- Put a queued job where claims find it.
local function make_ready(j)
  if must_run_alone(j) then
    redis.call('ZADD', key('solo', j.model), j.due, j.name)
  else
    redis.call('ZADD', key('ready', j.model, j.flow), j.due, j.name)
    redis.call('ZADD', key('turn', j.model), j.rank, j.flow)
  end
  ring(j.model)
end

local function enter_queue(j)
  redis.call('ZADD', key('waiting', j.model), j.created, j.name)
  count(j.model, 1, j.units, 0, 0)
end

local function leave_queue(j)
  local ready = key('ready', j.model, j.flow)
  redis.call('ZREM', ready, j.name)
  if redis.call('EXISTS', ready) == 0 then redis.call('ZREM', key('turn', j.model), j.flow) end
  redis.call('ZREM', key('solo', j.model), j.name)
  redis.call('ZREM', key('later'), j.name)
  redis.call('ZREM', key('waiting', j.model), j.name)
  count(j.model, -1, -j.units, 0, 0)
end

local function stop_running(j)
  redis.call('ZREM', key('leases'), j.name)
  redis.call('SREM', key('held', j.worker), j.name)
  redis.call('HDEL', key('job', j.name), 'token', 'solo', 'pub')
  redis.call('DEL', key('shown', j.name))
  count(j.model, 0, 0, -1, -j.units)
end

-- The one way into an end state. The caller has taken the job out of queue or leases.
local function finish(j, state, body, now, by, result)
  local job = key('job', j.name)
  redis.call('HSET', job, 'state', state, 'ended', now, 'ended_by', by, 'result', result)
  emit(j.name, body)
  redis.call('ZADD', key('ended'), now + ENDED_TTL_MS, j.name)
  redis.call('PEXPIRE', key('ev', j.name), EVENTS_TTL_MS)
  redis.call('PEXPIRE', job, ENDED_TTL_MS)
  if j.idem then redis.call('PEXPIRE', key('idem', j.idem), IDEM_TTL_MS) end
end

local function cancelled(j, now, by)
  finish(j, 'cancelled', '{"type":"cancelled"}', now, by, '')
end

local function requeued(j, reason)
  emit(j.name, '{"type":"requeued","attempt":' .. j.attempt .. ',"reason":"' .. reason .. '"}')
end

-- A lease ended without a word from its holder.
local function crash(j, now, reason)
  stop_running(j)
  if j.cancel then return cancelled(j, now, '') end
  j.crashes = j.crashes + 1
  if j.solo then j.solo_crashes = j.solo_crashes + 1 end
  set(j, 'crashes', j.crashes, 'solo_crashes', j.solo_crashes, 'before', j.token)
  if j.solo_crashes >= MAX_SOLO_CRASHES then
    local dead = key('dead', j.model)
    redis.call('ZREMRANGEBYSCORE', dead, '-inf', now)
    redis.call('ZADD', dead, now + ENDED_TTL_MS, j.name)
    return finish(j, 'failed', EXHAUSTED_EVENT, now, '', EXHAUSTED_RESULT)
  end
  set(j, 'state', 'queued')
  enter_queue(j)
  local pause = math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ^ (j.crashes - 1))
  redis.call('ZADD', key('later'), now + pause, j.name)
  requeued(j, reason)
end

-- Make ready whose back-off is over.
local function promote(now)
  local over = redis.call('ZRANGE', key('later'), '-inf', now, 'BYSCORE', 'LIMIT', 0, 16)
  for _, job in ipairs(over) do
    redis.call('ZREM', key('later'), job)
    local j = read(job)
    if j then make_ready(j) end
  end
end
