#!lua flags=allow-oom
-- ARGV: job token outcome spent result event -> ok|already|lost
local token = ARGV[2]
local j = read(ARGV[1])
if not j then return 'lost' end
if j.ended_by == token then return 'already' end
if j.state ~= 'running' or j.token ~= token then return 'lost' end
stop_running(j)
set(j, 'spent', ARGV[4])
finish(j, ARGV[3], ARGV[6], now_ms(), token, ARGV[5])
return 'ok'
